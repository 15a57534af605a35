"""Conditions Stalled and CheckpointsStored: what is told while a run goes on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from sid_operator.plan.decide import plan
from sid_operator.plan.model import Plan, status_json
from tests.unit.operator import world
from tests.unit.operator.world import NOW


def after_silence(seconds: float, *, pace: float = 12.5, iteration: int = 253, **spec: Any) -> Plan:
    """The plan of a run whose last report is so many seconds old."""
    report = world.report(
        time=NOW - timedelta(seconds=seconds), images_per_second=pace, iteration=iteration
    )
    seen = world.observed(world.run(**spec), pods=world.READY_PODS, report=report)
    return plan(world.resource(**spec), seen, NOW)


@pytest.mark.parametrize(
    ("seconds", "pace", "status"),
    [
        (60, 64, None),
        (299, 64, None),
        (300, 64, "True"),  # five minutes, as iterations take a second
        (300, 12.5, "True"),
        (15 * 60, 0.64, None),  # iterations of 100 s: twenty of them may pass
        (1990, 0.64, None),
        (2001, 0.64, "True"),
        (14 * 60, 0.0, None),  # no pace yet
        (15 * 60, 0.0, "True"),
        (86_399, 0.001, None),
        (86_400, 0.001, "True"),
    ],
)
def test_silence_counts_by_the_pace_so_far(seconds: float, pace: float, status: str | None) -> None:
    told = world.told(after_silence(seconds, pace=pace))
    assert told.get("Stalled") == (None if status is None else (status, "NoProgress"))


OTHER_WORK: dict[str, dict[str, Any]] = {
    "samples": {"evaluation": {"everyIterations": 23}},
    "checkpoint": {
        "checkpoint": {"bucket": "sid", "secretRef": {"name": "s"}, "everyIterations": 23}
    },
    "measurement": {
        "evaluation": {
            "everyIterations": 100,
            "metrics": {"clipScore": {"model": "a/b"}, "everyIterations": 23},
        }
    },
    "the end": {"training": {"iterations": 253, "batchSize": 64}},
}


@pytest.mark.parametrize("spec", OTHER_WORK.values(), ids=OTHER_WORK)
def test_other_work_between_iterations_takes_longer(spec: dict[str, Any]) -> None:
    assert "Stalled" not in world.told(after_silence(14 * 60, **spec))
    assert world.told(after_silence(15 * 60, **spec))["Stalled"] == ("True", "NoProgress")
    if "training" not in spec:
        before = after_silence(300, iteration=252, **spec)
        assert world.told(before)["Stalled"] == ("True", "NoProgress")


def test_it_looks_again_when_silence_would_mean_something() -> None:
    assert after_silence(240).look_again_after == 60


def test_a_stalled_run_is_told_once_and_with_a_remedy() -> None:
    stalled = after_silence(16 * 60)
    (notice,) = [notice for notice in stalled.notices if notice.reason == "Stalled"]
    assert "No progress since iteration 253 for over 5 minutes" in notice.message
    assert "training.watchdogSeconds (1800)" in notice.message
    old = world.report(time=NOW - timedelta(minutes=16))
    again = world.followed(stalled, world.observed(pods=world.READY_PODS, report=old))
    assert again.notices == ()


def test_without_a_watchdog_the_remedy_is_another() -> None:
    training = {"iterations": 500, "batchSize": 64, "watchdogSeconds": 0}
    (notice,) = [n for n in after_silence(16 * 60, training=training).notices if n.type != "Normal"]
    assert "delete the pods to go on" in notice.message


def test_progress_ends_it() -> None:
    stalled = after_silence(16 * 60)
    fresh = world.observed(pods=world.READY_PODS, report=world.report())
    assert world.told(world.followed(stalled, fresh))["Stalled"] == ("False", "Progressing")


@pytest.mark.parametrize("stage", ["loading", "encoding", "exporting"])
def test_other_stages_take_as_long_as_they_take(stage: str) -> None:
    report = world.report(stage=stage, time=NOW - timedelta(hours=1))
    seen = world.observed(pods=world.READY_PODS, report=report)
    assert "Stalled" not in world.told(plan(world.resource(), seen, NOW))


def test_a_checkpoint_that_is_not_stored_is_told_until_one_is() -> None:
    at = {"uri": "s3://sid/runs/x", "iteration": 200, "time": NOW}
    missed = world.report(checkpoint=at, checkpoint_problem="the store does not answer")
    first = plan(world.resource(), world.observed(pods=world.READY_PODS, report=missed), NOW)
    assert world.told(first)["CheckpointsStored"] == ("False", "NotStored")
    (notice,) = [notice for notice in first.notices if notice.type == "Warning"]
    assert notice.reason == "CheckpointNotStored"
    assert "Training goes on, but the store does not answer." in notice.message

    stored = world.report(checkpoint=at | {"iteration": 300})
    later = world.followed(first, world.observed(pods=world.READY_PODS, report=stored))
    assert world.told(later)["CheckpointsStored"] == ("True", "Stored")
    assert status_json(later.status)["checkpoint"]["iteration"] == 300


def test_before_the_first_checkpoint_nothing_is_told() -> None:
    seen = world.observed(pods=world.READY_PODS, report=world.report())
    assert "CheckpointsStored" not in world.told(plan(world.resource(), seen, NOW))
