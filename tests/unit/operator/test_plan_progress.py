"""Merging of progress reports: order, bounds, and what rank 0 cannot do with them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from sid_operator.api.status import SiDDistillationStatus
from sid_operator.plan import progress
from sid_operator.plan.model import status_json
from sid_operator.plan.progress import spoken
from tests.unit.operator import world
from tests.unit.operator.world import NOW

NEW = SiDDistillationStatus()


def after(*reports: object) -> SiDDistillationStatus:
    status = NEW
    for report in reports:
        status = progress.merged(status, report, [], NOW)  # type: ignore[arg-type]
    return status


def test_a_report_becomes_status() -> None:
    report = world.report(
        checkpoint={"uri": "s3://sid/c", "iteration": 200, "time": NOW},
        samples_uri="s3://sid/samples",
        metrics={"generatorLoss": 0.043304692953825, "not a name": 1.0},
    )
    assert status_json(after(report)) == {
        "conditions": [],
        "restarts": 0,
        "progress": {
            "iteration": 250,
            "iterations": 500,
            "images": 16_000,
            "percent": 50,
            "imagesPerSecond": 12.5,
            "etaSeconds": 100,
            "eta": "1m40s",
            "lastUpdateTime": world.at(2),
        },
        "metrics": {"generatorLoss": 0.043305},
        "checkpoint": {"uri": "s3://sid/c", "iteration": 200, "time": world.at(0)},
        "samples": {"uri": "s3://sid/samples"},
    }


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0, "0s"),
        (59, "59s"),
        (60, "1m0s"),
        (3599, "59m59s"),
        (3600, "1h0m"),
        (86_399, "23h59m"),
        (86_400, "1d0h"),
        (30 * 86_400 + 7200, "30d2h"),
    ],
)
def test_the_time_to_go_is_told_in_two_units(seconds: int, told: str) -> None:
    assert spoken(seconds) == told


def test_an_older_report_changes_nothing() -> None:
    newer = world.report(iteration=300, time=NOW)
    older = world.report(iteration=250, time=NOW - timedelta(seconds=9))
    assert after(newer, older) == after(newer)


def test_a_new_attempt_may_go_back_and_the_old_one_is_not_heard_again() -> None:
    first = world.report(iteration=300, time=NOW)
    second = world.report(attempt=2, iteration=200, time=NOW - timedelta(seconds=9))
    status = after(first, second, first)
    assert status.progress is not None
    assert (status.progress.iteration, status.restarts) == (200, 1)


def test_a_clock_that_is_ahead_does_not_shut_later_reports_out() -> None:
    ahead = world.report(iteration=10, time=NOW + timedelta(days=400))
    status = after(ahead, world.report(iteration=20, time=NOW))
    assert status.progress is not None
    assert status.progress.iteration == 20
    assert status.progress.last_update_time == NOW


def test_absurd_values_are_bounded() -> None:
    absurd = world.report(
        attempt=2**80,
        iteration=2**80,
        iterations=3,
        images=2**80,
        images_per_second=-1e300,
        eta_seconds=2**80,
        time=datetime(1, 1, 1, tzinfo=UTC),
    )
    status = after(absurd)
    assert status.progress is not None
    assert (status.progress.iteration, status.progress.percent) == (3, 100)
    assert status.progress.images == progress.LARGEST
    assert status.progress.images_per_second == 0
    assert status.progress.last_update_time == progress.EARLIEST


def test_what_a_report_leaves_out_stays() -> None:
    status = after(world.report(samples_uri="s3://sid/s"), world.report(metrics={}))
    assert status.samples is not None
    assert status.metrics == {"generatorLoss": 0.5}


def test_completion_fills_in_what_was_not_heard() -> None:
    status = progress.completed(after(world.report()), world.run())
    assert status.progress is not None
    assert (status.progress.iteration, status.progress.percent) == (500, 100)
    assert status.progress.eta_seconds == 0
    assert status.student is not None
    assert status.student.uri == "s3://sid/runs/team/digits/student"
    assert progress.completed(status, world.run()) == status
