"""Which end of a Job is the end of its run, and whose words tell it."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest

from sid_operator.kube.kinds import JOBS
from sid_operator.plan.decide import plan
from sid_operator.plan.jobs import Job
from sid_operator.plan.model import Apply, Delete, Plan, status_json
from sid_operator.plan.pods import Pod, pod_of
from tests.unit.operator import world
from tests.unit.operator.world import NOW

Spec = dict[str, Any]
CORRECTED: Spec = {"training": {"iterations": 900, "batchSize": 64}}
QUEUED: Spec = {"scheduling": {"queueName": "gpus"}}
STOPPED: Spec = QUEUED | {"runPolicy": {"suspend": True}}


def over(kind: str, deleted: float | None = None, **spec: Any) -> Job:
    """A Job that came to its end a moment ago."""
    ended = world.condition(kind, "BackoffLimitExceeded" if kind == "Failed" else "")
    return world.job(world.run(**spec), conditions=(ended,), deleted=deleted)


@pytest.mark.parametrize("kind", ["Failed", "Complete"])
@pytest.mark.parametrize(
    ("made_for", "deleted", "wanted", "ends"),
    [
        ({}, None, {}, {"Failed", "Complete"}),
        ({}, 20, {}, {"Complete"}),
        ({}, 0, {}, {"Complete"}),  # in the same second: nobody can tell, so it is tried again
        ({}, -20, {}, {"Failed", "Complete"}),
        ({}, 20, CORRECTED, set()),
        ({}, -20, CORRECTED, set()),
        ({}, None, CORRECTED, set()),
        (QUEUED, 20, STOPPED, {"Complete"}),
    ],
    ids=[
        "by itself",
        "after its deletion began",
        "in the second of its deletion",
        "before its deletion began",
        "when it was being deleted for a corrected spec",
        "before it was deleted for a corrected spec",
        "before the operator saw the corrected spec",
        "when it was being deleted to be suspended",
    ],
)
def test_which_end_of_a_job_is_that_of_the_run(
    kind: str, made_for: Spec, deleted: float | None, wanted: Spec, ends: set[str]
) -> None:
    of = world.run(**wanted)
    seen = world.observed(of, job=over(kind, deleted, **made_for))
    told = world.told(plan(world.resource(**wanted), seen, NOW))
    assert {one for one in ("Failed", "Complete") if told.get(one, ("",))[0] == "True"} == (
        {kind} & ends
    )


def test_a_job_that_ended_before_its_spec_was_corrected_makes_way() -> None:
    of = world.run(**CORRECTED)
    first = plan(world.resource(), world.observed(), NOW)
    seen = world.observed(of, job=over("Failed"))
    (action,) = world.followed(first, seen, **CORRECTED).actions
    assert isinstance(action, Delete)
    assert (action.kind, action.uid) == (JOBS, "uid-of-job")
    gone = world.followed(first, seen, world.observed(of, job=None), **CORRECTED)
    (action,) = gone.actions
    assert isinstance(action, Apply)
    assert action.kind is JOBS


def test_what_was_told_at_the_end_stays_when_the_spec_is_changed_later() -> None:
    dead = plan(world.resource(), world.observed(job=over("Failed")), NOW)
    later = world.followed(dead, world.observed(job=over("Failed")), **CORRECTED)
    assert later.status == dead.status
    assert later.actions == ()


@pytest.mark.parametrize(
    ("reason", "told"),
    [("DeadlineExceeded", "activeDeadlineSeconds (60)"), ("BackoffLimitExceeded", "Limit (5)")],
)
@pytest.mark.parametrize("by_then", [{}, {"backoffLimit": 9, "activeDeadlineSeconds": 700}])
def test_the_limit_that_was_exceeded_is_told_whatever_the_spec_says_by_then(
    reason: str, told: str, by_then: Spec
) -> None:
    of = world.run(runPolicy={"backoffLimit": 5, "activeDeadlineSeconds": 60})
    dead = world.observed(job=world.job(of, conditions=(world.condition("Failed", reason),)))
    changed = plan(world.resource(runPolicy=by_then), dead, NOW)
    later = world.followed(changed, dead)
    for made in (changed, later):
        assert told in made.status.conditions[-1].message


def test_a_job_that_is_deleted_by_its_owners_end_ends_no_run() -> None:
    stale = dataclasses.replace(over("Failed"), ours=False, deleting=True)
    assert "Failed" not in world.told(plan(world.resource(), world.observed(job=stale), NOW))


def certain_to_fail(reason: str) -> Job:
    """A Job whose end is decided, while its pods are still ending: Failed comes after them."""
    of = world.run(runPolicy={"backoffLimit": 3, "activeDeadlineSeconds": 60})
    return world.job(of, conditions=(world.condition("FailureTarget", reason),))


def leaving(index: int, since: float) -> Pod:
    """A pod on node-1 that was told to end so many seconds ago and has 120 s for it."""
    obj = world.raw_pod(
        index,
        phase="Running",
        conditions=[world.condition("Ready")],
        containerStatuses=[{"name": "trainer", "ready": True, "state": {"running": {}}}],
    )
    obj["metadata"]["deletionTimestamp"] = world.at(since - 120)
    return pod_of(obj)


@pytest.fixture
def training() -> Plan:
    pods = (world.ready(0), world.ready(1))
    return plan(world.resource(), world.observed(pods=pods, report=world.report()), NOW)


@pytest.mark.parametrize("since", [5, 500], ids=["leaving", "stuck"])
@pytest.mark.parametrize(
    ("reason", "failed", "words"),
    [
        ("DeadlineExceeded", "DeadlineExceeded", "activeDeadlineSeconds (60)"),
        ("BackoffLimitExceeded", "BackoffLimitExceeded", "Last cause: OutOfMemory: "),
        ("PodFailurePolicy", "OutOfMemory", "limits.memory"),
    ],
)
def test_a_run_has_failed_once_that_is_certain_though_pods_are_still_ending(
    training: Plan, reason: str, failed: str, words: str, since: float
) -> None:
    blamed = world.ended(0, 137, reason="OOMKilled")
    pods = (leaving(0, since) if reason == "DeadlineExceeded" else blamed, leaving(1, since))
    seen = world.observed(job=certain_to_fail(reason), pods=pods)
    dead = world.followed(training, seen)
    assert dead.status.phase == "Failed"
    assert dead.status.completion_time == NOW
    assert dead.status.failure is not None
    assert world.told(dead)["Failed"] == ("True", failed)
    assert words in dead.status.conditions[-1].message
    (event,) = dead.notices
    assert (event.type, event.reason) == ("Warning", "Failed")
    assert words in event.message
    assert dead.actions == ()
    assert not dead.wants_creation_failures
    ready = next(one for one in dead.status.conditions if one.type == "PodsReady")
    assert (ready.status, ready.reason) == ("False", "Finished")
    assert ("still held by node node-1" in ready.message) == (since == 500)
    assert "goes on" not in ready.message + dead.status.failure.message
    assert dead.look_again_after == (None if since == 500 else 120 + 30 - since)

    over = world.condition("Failed", reason) | {"lastTransitionTime": world.at(-40)}
    target = world.condition("FailureTarget", reason)
    job = dataclasses.replace(world.job(conditions=(target, over)), deadline=60, backoff_limit=6)
    later = world.followed(dead, world.observed(job=job))
    assert later.notices == ()
    assert later.status.completion_time == NOW
    assert later.status.failure == dead.status.failure
    ready = next(one for one in later.status.conditions if one.type == "PodsReady")
    assert ready.message == "The run has ended."


def test_a_pod_that_does_not_end_is_told_of_a_run_that_is_over(training: Plan) -> None:
    job = certain_to_fail("DeadlineExceeded")
    dead = world.followed(training, world.observed(job=job, pods=(leaving(0, 5),)))
    still = world.observed(job=job, pods=(leaving(0, 5),))
    late = plan(world.resource(status_json(dead.status)), still, NOW + timedelta(seconds=145))
    ready = next(one for one in late.status.conditions if one.type == "PodsReady")
    assert "pod digits-0-a is still held by node node-1" in ready.message
    gone = world.followed(late, world.observed(job=None))
    assert gone.status.conditions[-1] == late.status.conditions[-1]
    assert "still held" not in str(gone.status)


def test_a_deadline_that_was_passed_before_the_job_was_deleted_counts() -> None:
    """Its Failed would come after the deletion, and say nothing."""
    job = dataclasses.replace(
        certain_to_fail("DeadlineExceeded"), deleting=True, deleted=NOW + timedelta(seconds=20)
    )
    told = world.told(plan(world.resource(), world.observed(job=job), NOW))
    assert told["Failed"] == ("True", "DeadlineExceeded")


def troubled(job: Job) -> Plan:
    """A run that stands still, and whose checkpoints are not stored, comes to its end."""
    report = world.report(time=NOW - timedelta(hours=1), checkpoint_problem="no answer")
    pods = (world.ready(0), world.ready(1))
    bad = plan(world.resource(), world.observed(pods=pods, report=report), NOW)
    assert world.told(bad)["Stalled"][0] == "True"
    assert world.told(bad)["CheckpointsStored"][0] == "False"
    over = world.followed(bad, world.observed(job=job))
    assert world.followed(over, world.observed(job=job)).status == over.status
    return over


@pytest.mark.parametrize(
    ("kind", "stored"), [("Complete", ("True", "Stored")), ("Failed", ("Unknown", "Finished"))]
)
def test_a_run_that_is_over_is_in_no_trouble(kind: str, stored: tuple[str, str]) -> None:
    told = world.told(troubled(over(kind)))
    assert told["Stalled"] == ("False", "Finished")
    assert told["CheckpointsStored"] == stored


def test_a_run_that_is_over_is_not_suspended() -> None:
    stopped = world.observed(world.run(**STOPPED), job=None)
    suspended = plan(world.resource(**STOPPED), stopped, NOW)
    assert world.told(suspended)["Suspended"] == ("True", "SuspendedByUser")
    seen = world.observed(world.run(**STOPPED), job=over("Complete", 20, **QUEUED))
    told = world.told(world.followed(suspended, seen, **STOPPED))
    assert told["Suspended"] == ("False", "Finished")
