"""What the model card says of a student, from its run's settings."""

from __future__ import annotations

from typing import Any

from sid_trainer.config import RunConfig
from sid_trainer.export.card import CardFacts, model_card


def run(**sections: Any) -> RunConfig:
    return RunConfig.model_validate(
        {
            "teacher": {"model": "owner/teacher"},
            "data": {"prompts": {"uri": "s3://sid/prompts.txt"}, "images": {"uri": "/images"}},
            "storage": {"uri": "file:///run"},
            **sections,
        }
    )


METRICS = {"samples": 1000, "fid": {"features": "/x.pt", "images": {"uri": "s3://sid/coco"}}}


def test_the_teachers_metrics_are_told_with_what_it_was_sampled_with() -> None:
    config = run(
        student={"steps": 1},
        distillation={"guidance": {"strategy": "AntiCFG", "scale": 1.5}, "adversarial": {}},
        evaluation={"metrics": METRICS},
    )
    card = model_card(config, CardFacts("FluxPipeline", 10, metrics={"fid": 2}, teacher={"fid": 3}))
    assert "| metric | student, 1 step | teacher, 28 steps with guidance 4.5 |" in card
    assert "It samples in 1 step without" in card
