"""``status.failure`` and ``status.lastFailure``: what is told, how often, and what is kept."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sid_operator.plan.decide import plan
from sid_operator.plan.model import CreationFailure, Observed, Plan, Refusal, status_json
from sid_operator.plan.pods import Pod, pod_of
from tests.unit.operator import world
from tests.unit.operator.world import NOW


def unschedulable(index: int, number: int) -> Pod:
    """A pod that no node can take, in words of a cluster that changes."""
    message = f"0/{number} nodes are available: {number % 7} Insufficient nvidia.com/gpu."
    obj = world.raw_pod(index)
    obj["spec"] = {}
    condition = world.condition("PodScheduled", "Unschedulable", message, status="False")
    obj["status"]["conditions"] = [condition]
    return pod_of(obj)


def by_scheduler(number: int) -> Observed:
    return world.observed(pods=(unschedulable(0, number), unschedulable(1, number)))


def by_quota(number: int) -> Observed:
    message = f"Error creating: exceeded quota: gpus, used: requests.nvidia.com/gpu={number}"
    return world.observed(creation_failures=(CreationFailure(NOW, message),))


def by_refusal(number: int) -> Observed:
    details = f"exceeded quota: jobs, used: count/jobs.batch={number}"
    return world.observed(job=None, refusal=Refusal("Job", "digits", details))


def seen(
    way: Any, moments: Iterable[tuple[float, int]], status: dict[str, Any] | None = None
) -> tuple[list[Plan], list[float]]:
    """The plans of a run that is looked at in these moments, and when its status was written."""
    status = status or {}
    plans, writes = [], []
    for seconds, number in moments:
        made = plan(world.resource(status), way(number), NOW + timedelta(seconds=seconds))
        if status_json(made.status) != status:
            writes.append(seconds)
        status = status_json(made.status)
        plans.append(made)
    return plans, writes


def words(made: Plan) -> str:
    """What a plan tells as the failure."""
    assert made.status.failure is not None
    return made.status.failure.message


@pytest.mark.parametrize("way", [by_scheduler, by_quota, by_refusal])
@settings(max_examples=25, deadline=None)
@given(steps=st.lists(st.tuples(st.integers(0, 100), st.integers(0, 500)), min_size=1, max_size=20))
def test_other_words_for_the_same_cause_cost_one_event_and_a_write_a_minute(
    way: Any, steps: list[tuple[int, int]]
) -> None:
    times = list(itertools.accumulate(step for step, _ in steps))
    last = steps[-1][1]
    plans, writes = seen(way, zip(times, [number for _, number in steps], strict=True))
    assert sum(n.type == "Warning" for made in plans for n in made.notices) == 1
    assert all(later - earlier >= 60 for earlier, later in itertools.pairwise(writes))

    # The last words are told in the end, by time alone.
    waits = plans[-1].look_again_after
    assert waits is not None
    if words(plans[-1]) != words(seen(way, [(0, last)])[0][0]) and way is not by_refusal:
        assert waits <= 60
    at = times[-1] + max(waits, 60)
    rest, _ = seen(way, [(at, last), (at, last)], status_json(plans[-1].status))
    assert words(rest[0]) == words(seen(way, [(0, last)])[0][0])
    assert [made.notices for made in rest] == [(), ()]
    assert rest[0].status == rest[1].status


def test_the_condition_is_as_steady_as_the_failure() -> None:
    first, second = seen(by_scheduler, [(0, 90), (20, 91)])[0]
    assert second.status == first.status
    assert second.look_again_after == 40
    third = seen(by_scheduler, [(0, 90), (20, 91), (60, 91)])[0][-1]
    ready = next(one for one in third.status.conditions if one.type == "PodsReady")
    assert third.status.failure is not None
    assert "0/91" in ready.message
    assert ready.message == third.status.failure.message


def test_another_cause_is_told_at_once() -> None:
    first = plan(world.resource(), by_scheduler(90), NOW)
    other = world.followed(first, world.observed(pods=(world.waiting(0, "ErrImagePull", "no"),)))
    assert other.status.failure is not None
    assert other.status.failure.reason == "ImagePullFailed"
    assert [notice.reason for notice in other.notices] == ["ImagePullFailed"]


def test_another_secret_that_is_missing_is_told_at_once() -> None:
    """Under the same reason and in the same pod, but words of ours, each with its own remedy."""
    told = []
    made = plan(world.resource(), world.observed(), NOW)
    for name in ("credentials", "hub"):
        missing = world.waiting(0, "CreateContainerConfigError", f'secret "{name}" not found')
        made = world.followed(made, world.observed(pods=(missing,)))
        told += [notice.message for notice in made.notices if notice.type == "Warning"]
        assert name in words(made)
    first, second = told
    assert '"credentials"' in first
    assert '"hub"' in second


def test_another_pod_is_told_too() -> None:
    first = plan(world.resource(), by_scheduler(90), NOW)
    seen = world.observed(pods=(world.ready(0), unschedulable(1, 90)))
    later = plan(world.resource(status_json(first.status)), seen, NOW + timedelta(minutes=1))
    (notice,) = later.notices
    assert (notice.reason, notice.known_by) == ("Unschedulable", "digits-1-a")


def test_what_follows_a_change_of_the_spec_is_news() -> None:
    first = plan(world.resource(), by_scheduler(90), NOW)
    edited = world.raw(status_json(first.status))
    edited["metadata"]["generation"] = 2
    later = plan(world.read(edited), by_scheduler(91), NOW)
    assert later.status.failure is not None
    assert "0/91" in later.status.failure.message
    assert [notice.reason for notice in later.notices] == ["Unschedulable"]
    same = world.raw(status_json(later.status))
    same["metadata"]["generation"] = 3
    assert plan(world.read(same), by_scheduler(91), NOW).notices == ()


def test_what_an_earlier_version_told_stays_until_there_is_news() -> None:
    """It told no time: an upgrade writes nothing for it."""
    status = status_json(plan(world.resource(), by_scheduler(90), NOW).status)
    del status["failure"]["time"]
    assert status_json(plan(world.resource(status), by_scheduler(90), NOW).status) == status
    later = plan(world.resource(status), by_scheduler(91), NOW).status
    assert later.failure is not None
    assert later.failure.time == NOW


def test_why_training_was_interrupted_is_kept_when_it_goes_on(running: Plan) -> None:
    assert running.status.last_failure is None
    record = json.dumps({"state": "failed", "failure": {"reason": "Stalled", "message": "rank 3"}})
    lost = (world.ready(0), world.ended(1, 81, record))
    broken = world.followed(running, world.observed(pods=lost))
    assert broken.status.last_failure == broken.status.failure

    waits = (world.ready(0), pod_of(replacement()))
    stuck = world.followed(broken, world.observed(pods=waits))
    assert stuck.status.failure is not None
    assert stuck.status.failure.reason == "Unschedulable"
    back = (world.ready(0), world.ready(1, suffix="b", age=3))
    news = world.report(attempt=2, iteration=200, time=NOW)
    again = world.followed(stuck, world.observed(pods=back, report=news))
    assert again.status.phase == "Running"
    assert again.status.failure is None
    told = status_json(again.status)["lastFailure"]
    assert told == {
        "reason": "Stalled",
        "message": "rank 3",
        "pod": "digits-1-a",
        "node": "node-1",
        "time": "2026-11-22T12:00:00Z",
    }

    done = world.followed(again, world.observed(job=world.job(conditions=(COMPLETE,))))
    assert done.status.failure is None
    assert status_json(done.status)["lastFailure"] == told


COMPLETE = world.condition("Complete")


def replacement() -> dict[str, Any]:
    """The pod that is to replace the lost one, and finds no node."""
    obj = world.raw_pod(1, age=3, suffix="b")
    obj["spec"] = {}
    condition = world.condition("PodScheduled", "Unschedulable", "no", status="False")
    obj["status"]["conditions"] = [condition]
    return obj


def test_a_node_that_was_lost_is_kept_with_the_time_of_the_last_loss(running: Plan) -> None:
    silent = world.raw_pod(
        1,
        phase="Running",
        conditions=[world.condition("Ready", status="False")],
        containerStatuses=[{"name": "trainer", "ready": True, "state": {"running": {}}}],
    )
    lost = world.observed(pods=(world.ready(0), pod_of(silent)))
    first = world.followed(running, lost)
    news = world.report(iteration=300, time=NOW)
    back = world.followed(first, world.observed(pods=world.READY_PODS, report=news))
    assert back.status.failure is None
    kept = back.status.last_failure
    assert kept is not None
    assert (kept.reason, kept.node, kept.time) == ("NodeLost", "node-1", NOW)

    later = NOW + timedelta(hours=2)
    again = plan(world.resource(status_json(back.status)), lost, later).status
    assert again.last_failure is not None
    assert again.last_failure.time == later


@pytest.mark.parametrize(
    "way", [by_scheduler, by_quota, by_refusal], ids=["scheduler", "quota", "refusal"]
)
def test_what_a_run_waits_for_is_no_interruption(way: Any) -> None:
    waits = plan(world.resource(), way(90), NOW)
    assert waits.status.failure is not None
    assert waits.status.last_failure is None


def test_a_failure_keeps_its_time(running: Plan) -> None:
    lost = world.observed(pods=(world.ready(0), world.ended(1, 81)))
    broken = world.followed(running, lost)
    later = plan(world.resource(status_json(broken.status)), lost, NOW + timedelta(minutes=5))
    assert later.status == broken.status
