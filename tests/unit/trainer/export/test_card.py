"""What the model card says of a student, from its run's settings."""

from __future__ import annotations

from typing import Any

import yaml

from sid_trainer.config import RunConfig
from sid_trainer.export.card import CardFacts, model_card

AIDED = {
    "data": {"prompts": {"uri": "s3://sid/prompts.txt"}, "images": {"uri": "s3://sid/real"}},
    "distillation": {"guidance": {"strategy": "AntiCFG", "scale": 1.5}, "adversarial": {}},
}
METRICS = {
    "samples": 1000,
    "captions": {"uri": "s3://sid/coco.txt"},
    "fid": {"features": "/x.pt", "imageSize": 256, "images": {"uri": "s3://sid/val2014"}},
}


def run(**sections: Any) -> RunConfig:
    return RunConfig.model_validate(
        {
            "teacher": {"model": "owner/teacher"},
            "data": {"prompts": {"uri": "s3://sid/prompts.txt"}},
            "storage": {"uri": "file:///run"},
            **sections,
        }
    )


def card_of(config: RunConfig, pipeline: str = "FluxPipeline", **facts: Any) -> str:
    return model_card(config, CardFacts(pipeline, 500, **facts))


def test_the_teachers_metrics_are_told_with_what_it_was_sampled_with() -> None:
    config = run(**AIDED, student={"steps": 1}, evaluation={"metrics": METRICS})
    card = card_of(config, metrics={"fid": 2.0}, teacher={"fid": 3.0})
    assert "| metric | student, 1 step | teacher, 28 steps with guidance 4.5 |" in card
    assert "It samples in 1 step without" in card


def test_metrics_are_told_with_all_that_they_depend_on() -> None:
    card = card_of(run(evaluation={"metrics": METRICS}), metrics={"fid": 2.0})
    for row in (
        "| Samples | 1,000 |",
        "| Captions | `s3://sid/coco.txt` |",
        "| Reference images | `s3://sid/val2014` |",
        "| Feature extractor | `/x.pt` |",
        "| Image size | 256×256 (bicubic) |",
    ):
        assert row in card
    plain = {"fid": {"features": "/x.pt", "teacher": True}, "clipScore": {"model": "a/clip"}}
    card = card_of(run(evaluation={"metrics": plain}), metrics={"fidTeacher": 2.0})
    for row in (
        "| Captions | the training prompts |",
        "| Image size | as they are |",
        "| CLIP model | `a/clip` |",
    ):
        assert row in card
    assert "Reference images" not in card


def test_what_a_student_came_from_is_told() -> None:
    config = run(**AIDED, student={"initFrom": "s3://sid/first/student"})
    card = card_of(config)
    assert "128,000 generated images, begun from the student `s3://sid/first/student`." in card
    for row in (
        "| Started from | `s3://sid/first/student` |",
        "| Prompts | `s3://sid/prompts.txt` |",
        "| Images | `s3://sid/real` |",
    ):
        assert row in card
    assert "updated after 20,000 generated images, real images join after 40,000 |" in card
    card = card_of(run())
    assert "128,000 generated images. It samples" in card
    assert "Started from" not in card
    assert "| Images |" not in card


def test_a_student_of_one_step_draws_nothing_between_steps() -> None:
    assert "global** generator" in card_of(run())
    card = card_of(run(student={"steps": 1}))
    assert "generator" not in card
    assert "between steps" not in card


def test_only_a_teacher_of_the_hub_is_linked_as_the_base() -> None:
    """A path such as digits/teacher looks like a model of the Hub."""
    for on_hub in (True, False):
        front = yaml.safe_load(card_of(run(), on_hub=on_hub).split("---")[1])
        assert front.get("base_model") == ("owner/teacher" if on_hub else None)


def test_learning_rates_are_told_where_they_are_known() -> None:
    training = run(training={"precision": "pure-bf16", "fakeLearningRate": 2e-5}).training
    card = card_of(run(training=training.with_rates().model_dump(by_alias=True)))
    assert "| Learning rates | student 1e-05, fake score 2e-05 |" in card
    assert "Learning rates" not in card_of(run()), "of a checkpoint"
