"""Settings of evaluation that contradict one another."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from sid_trainer.config import EvaluationConfig, RunConfig


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ({}, "measures nothing"),
        ({"fid": {"features": "x.pt"}}, "compares with nothing"),
        ({"clipScore": {"model": "a/b"}, "best": "fid"}, "best is fid, which is not measured"),
        (
            {"fid": {"features": "x.pt", "teacher": True}, "best": "fid"},
            "choose one of fidTeacher",
        ),
    ],
)
def test_contradictions_are_refused_with_their_remedy(
    metrics: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        EvaluationConfig.model_validate({"metrics": metrics})


@pytest.mark.parametrize(
    "metrics",
    [
        {"fid": {"features": "x.pt", "teacher": True}},
        {"clipScore": {"model": "a/b"}, "teacher": True},
    ],
)
def test_a_teacher_without_steps_cannot_be_sampled(metrics: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"teacher needs .*evaluation\.teacher\.steps is 0"):
        EvaluationConfig.model_validate({"teacher": {"steps": 0}, "metrics": metrics})


@pytest.mark.parametrize(
    ("every", "metrics", "accepted"),
    [
        (5, {"best": "clipScore", "everyIterations": 10}, True),
        (5, {"best": "clipScore", "everyIterations": 7}, False),
        (5, {"best": "clipScore"}, False),
        (5, {"everyIterations": 10}, False),
        (5, None, False),
    ],
)
def test_the_best_checkpoints_are_those_of_measured_students(
    every: int, metrics: dict[str, Any] | None, accepted: bool
) -> None:
    config = {
        "teacher": {"model": "a/b"},
        "data": {"prompts": {"uri": "/p.txt"}},
        "storage": {"uri": "file:///run"},
        "checkpoint": {"everyIterations": every, "keepBest": 1},
        "evaluation": {"metrics": metrics and {"clipScore": {"model": "a/b"}, **metrics}},
    }
    if accepted:
        assert RunConfig.model_validate(config).checkpoint.keep_best == 1
        return
    with pytest.raises(ValidationError, match=r"as a multiple of checkpoint\.everyIterations"):
        RunConfig.model_validate(config)
