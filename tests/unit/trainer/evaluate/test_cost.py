"""Whether the teacher is measured beside the student."""

from __future__ import annotations

from typing import Any

import pytest

from sid_trainer.config import RunConfig
from sid_trainer.evaluate.cost import measures_teacher

IMAGES = {"fid": {"features": "x.pt", "images": {"uri": "/i"}}}
CLIP = {"clipScore": {"model": "a/b"}}


@pytest.mark.parametrize(
    ("metrics", "iterations", "steps", "measured"),
    [
        (IMAGES, 1000, 28, True),  # 5.6 thousand forwards, and 320 thousand of training
        (IMAGES, 17, 28, False),  # 5,440 of training
        (IMAGES | {"teacher": True}, 17, 28, True),
        (IMAGES | {"teacher": False}, 1000, 28, False),
        (IMAGES, 1000, 0, False),
        ({"fid": IMAGES["fid"] | {"teacher": True}}, 17, 28, True),  # it is sampled anyway
        ({"fid": {"features": "x.pt", "teacher": True}}, 1000, 28, False),
        (CLIP, 1000, 28, False),
        (CLIP | {"teacher": True}, 1000, 28, True),
        (None, 1000, 28, False),
    ],
)
def test_the_teacher_is_measured_where_it_tells_something_and_costs_little(
    metrics: dict[str, Any] | None, iterations: int, steps: int, measured: bool
) -> None:
    config = RunConfig.model_validate(
        {
            "teacher": {"model": "a/b"},
            "data": {"prompts": {"uri": "prompts.txt"}},
            "storage": {"uri": "file:///run"},
            "training": {"iterations": iterations, "batchSize": 16},
            "evaluation": {
                "teacher": {"steps": steps},
                "metrics": metrics and metrics | {"samples": 100},
            },
        }
    )
    assert measures_teacher(config) is measured
