"""Which end of a Job is the end of its run, and whose words tell it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from sid_operator.kube.kinds import JOBS
from sid_operator.plan.decide import plan
from sid_operator.plan.model import Apply, Delete
from sid_operator.plan.observed import Job
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
