"""Conditions Stalled and CheckpointsStored: what is told while a run goes on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from sid_operator.plan.decide import plan
from sid_operator.plan.model import Plan, status_json
from tests.unit.operator import world
from tests.unit.operator.world import NOW

READY_PODS = (world.ready(0), world.ready(1))


def after_silence(seconds: float, *, pace: float = 12.5, **spec: Any) -> Plan:
    """The plan of a run whose last report is so many seconds old."""
    report = world.report(
        time=NOW - timedelta(seconds=seconds), images_per_second=pace, iteration=250
    )
    seen = world.observed(world.run(**spec), pods=READY_PODS, report=report)
    return plan(world.resource(**spec), seen, NOW)


@pytest.mark.parametrize(
    ("seconds", "pace", "status"),
    [
        (60, 12.5, None),
        (14 * 60, 12.5, None),
        (15 * 60, 12.5, "True"),  # a quarter of an hour, as iterations take 5 s
        (15 * 60, 0.64, None),  # iterations of 100 s: twenty of them may pass
        (1990, 0.64, None),
        (2001, 0.64, "True"),
        (15 * 60, 0.0, "True"),  # no pace yet
    ],
)
def test_silence_counts_by_the_pace_so_far(seconds: float, pace: float, status: str | None) -> None:
    told = world.told(after_silence(seconds, pace=pace))
    assert told.get("Stalled") == (None if status is None else (status, "NoProgress"))


def test_it_looks_again_when_silence_would_mean_something() -> None:
    assert after_silence(14 * 60).look_again_after == 60


def test_a_stalled_run_is_told_once_and_with_a_remedy() -> None:
    stalled = after_silence(16 * 60)
    (notice,) = [notice for notice in stalled.notices if notice.reason == "Stalled"]
    assert "No progress since iteration 250 for over 15 minutes" in notice.message
    assert "training.watchdogSeconds (1800)" in notice.message
    old = world.report(time=NOW - timedelta(minutes=16))
    again = world.followed(stalled, world.observed(pods=READY_PODS, report=old))
    assert again.notices == ()


def test_without_a_watchdog_the_remedy_is_another() -> None:
    training = {"iterations": 500, "batchSize": 64, "watchdogSeconds": 0}
    (notice,) = [n for n in after_silence(16 * 60, training=training).notices if n.type != "Normal"]
    assert "delete the pods to go on" in notice.message


def test_progress_ends_it() -> None:
    stalled = after_silence(16 * 60)
    fresh = world.observed(pods=READY_PODS, report=world.report())
    assert world.told(world.followed(stalled, fresh))["Stalled"] == ("False", "Progressing")


@pytest.mark.parametrize("stage", ["loading", "encoding", "exporting"])
def test_other_stages_take_as_long_as_they_take(stage: str) -> None:
    report = world.report(stage=stage, time=NOW - timedelta(hours=1))
    seen = world.observed(pods=READY_PODS, report=report)
    assert "Stalled" not in world.told(plan(world.resource(), seen, NOW))


def test_a_checkpoint_that_is_not_stored_is_told_until_one_is() -> None:
    at = {"uri": "s3://sid/runs/x", "iteration": 200, "time": NOW}
    missed = world.report(checkpoint=at, checkpoint_problem="the store does not answer")
    first = plan(world.resource(), world.observed(pods=READY_PODS, report=missed), NOW)
    assert world.told(first)["CheckpointsStored"] == ("False", "NotStored")
    (notice,) = [notice for notice in first.notices if notice.type == "Warning"]
    assert notice.reason == "CheckpointNotStored"
    assert "Training goes on, but the store does not answer." in notice.message

    stored = world.report(checkpoint=at | {"iteration": 300})
    later = world.followed(first, world.observed(pods=READY_PODS, report=stored))
    assert world.told(later)["CheckpointsStored"] == ("True", "Stored")
    assert status_json(later.status)["checkpoint"]["iteration"] == 300


def test_before_the_first_checkpoint_nothing_is_told() -> None:
    seen = world.observed(pods=READY_PODS, report=world.report())
    assert "CheckpointsStored" not in world.told(plan(world.resource(), seen, NOW))
