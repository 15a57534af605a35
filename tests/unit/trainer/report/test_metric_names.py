"""One table names the metrics for report, model card and commands."""

from __future__ import annotations

from typing import get_args

import pytest

from sid_trainer.config import Metric
from sid_trainer.report.metric_names import METRICS, TEACHERS, charts, explained, lower_is_better


def test_every_metric_of_the_configuration_is_named() -> None:
    assert tuple(METRICS) == get_args(Metric)


def test_every_curve_is_in_one_chart() -> None:
    curves = [name for names in charts().values() for name in names]
    assert sorted(curves) == sorted([*METRICS, *TEACHERS.values()])
    assert charts()["Fréchet distance (lower is better)"] == ["fid", "teacherFid", "fidTeacher"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("fid", "FID to the reference images (lower is better)"),
        ("clipScore", "CLIP score (higher is better)"),
        ("ofAnotherRelease", "ofAnotherRelease"),
    ],
)
def test_a_metric_is_explained(name: str, told: str) -> None:
    assert explained(name) == told
    assert lower_is_better(name) == ("lower" in told)
