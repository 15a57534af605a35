"""``plan``: runs that are suspended, by their user or by a queue.

A run is told as suspended when it stands still, not when somebody only wished so.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from sid_operator.api.conditions import Phase
from sid_operator.kube.kinds import CONFIG_MAPS, JOBS, SERVICES
from sid_operator.plan.decide import plan
from sid_operator.plan.jobs import Job
from sid_operator.plan.model import (
    Child,
    Delete,
    Merge,
    Observed,
    Plan,
    Refusal,
    status_json,
)
from tests.unit.operator import world
from tests.unit.operator.world import NOW

STOP: dict[str, Any] = {"runPolicy": {"suspend": True}}
QUEUE: dict[str, Any] = {"scheduling": {"queueName": "gpus"}}
REFUSED = Refusal("Job", world.NAME, "denied")


def test_a_run_is_suspended_though_its_config_map_is_being_removed(running: Plan) -> None:
    leaving = Child("x", ours=True, deleting=True)
    later = world.followed(running, world.observed(config_map=leaving), runPolicy={"suspend": True})
    assert [type(a) for a in later.actions] == [Merge]


def test_suspend_and_resume(running: Plan) -> None:
    spec = {"runPolicy": {"suspend": True}}
    stopping = world.followed(running, world.observed(pods=world.READY_PODS), **spec)
    (action,) = stopping.actions
    assert isinstance(action, Merge)
    assert action.patch["spec"]["suspend"] is True
    suspended = world.job(world.run(**spec), suspend=True)
    stopped = world.followed(stopping, world.observed(job=suspended), **spec)
    assert stopped.actions == ()

    resumed = world.followed(stopped, world.observed(pods=world.READY_PODS))
    assert world.told(resumed)["Suspended"] == ("False", "Resumed")
    assert resumed.status.phase is Phase.STARTING

    without_pods = world.followed(stopped, world.observed())
    assert [n.reason for n in without_pods.notices] == ["Resumed"]

    # The Job starts anew when it is resumed; pods of before may be seen to end only then.
    again = dataclasses.replace(world.job(), started=NOW)
    left_over = (world.ended(0, 143, gone=True), world.ended(1, 143, gone=True))
    late = world.followed(stopped, world.observed(job=again, pods=left_over))
    assert late.status.phase is not Phase.RESTARTING


def test_with_a_queue_the_job_waits_for_it_and_is_absent_while_suspended() -> None:
    queue = {"scheduling": {"queueName": "gpus"}}
    of = world.run(**queue)
    queued = world.first(world.observed(of, job=world.job(of, suspend=True)), **queue)
    assert queued.status.phase is Phase.QUEUED
    assert queued.actions == ()
    stop = queue | {"runPolicy": {"suspend": True}}
    stopped = world.first(world.observed(world.run(**stop), job=world.job(of)), **stop)
    assert [type(a) for a in stopped.actions] == [Delete]
    assert world.first(world.observed(world.run(**stop), job=None), **stop).actions == ()


def test_a_queue_that_the_resource_does_not_name_is_read_from_the_job() -> None:
    """Kueue labels the Jobs of a namespace with a LocalQueue named default, and admits them."""
    admitted = dataclasses.replace(world.job(suspend=False), queue="default")
    waiting = world.first(world.observed(job=dataclasses.replace(admitted, suspended=True)))
    assert waiting.status.phase is Phase.QUEUED
    ready = next(c for c in waiting.status.conditions if c.type == "PodsReady")
    assert "queue default" in ready.message

    longer = world.first(world.observed(job=admitted), runPolicy={"backoffLimit": 5})
    (change,) = longer.actions
    assert isinstance(change, Merge)
    assert "suspend" not in change.patch["spec"]

    stop = {"runPolicy": {"suspend": True}}
    stopped = world.first(world.observed(world.run(**stop), job=admitted), **stop)
    assert [type(a) for a in stopped.actions] == [Delete]


def test_a_suspended_run_gets_no_job_that_a_queue_might_admit() -> None:
    stop = {"runPolicy": {"suspend": True}}
    made = world.first(Observed(), **stop)
    assert [a.kind for a in made.actions] == [CONFIG_MAPS, SERVICES]
    assert made.status.phase is Phase.SUSPENDED
    resumed = world.followed(made, world.observed(job=None))
    assert [a.kind for a in resumed.actions] == [JOBS]


def observed(job: Job | None, spec: dict[str, Any], **parts: Any) -> Observed:
    """Pods that train, whatever the Job."""
    of = world.run(**spec)
    return world.observed(of, job=job, pods=world.READY_PODS, report=world.report(), **parts)


def stopped(job: Job | None, **parts: Any) -> Plan:
    """The plan of a run that trained and was told to stand still."""
    running = plan(world.resource(), observed(world.job(), {}), NOW)
    return plan(
        world.resource(status_json(running.status), **STOP), observed(job, STOP, **parts), NOW
    )


STANDING = {
    "no Job": None,
    "the Job is suspended": world.job(suspend=True),
    "the Job is being deleted": world.job(deleted=1),
    "the Job of another spec has ended": world.job(
        world.run(**QUEUE), conditions=(world.condition("Complete"),)
    ),
}


@pytest.mark.parametrize("job", STANDING.values(), ids=STANDING)
def test_a_run_whose_job_makes_no_pods_is_suspended(job: Job | None) -> None:
    made = stopped(job)
    told = world.told(made)
    assert told["Suspended"] == ("True", "SuspendedByUser")
    assert told["Running"] == told["PodsReady"] == ("False", "SuspendedByUser")
    assert made.status.phase is Phase.SUSPENDED


@pytest.mark.parametrize("refusal", [None, REFUSED], ids=["not yet", "refused"])
def test_a_run_whose_job_goes_on_is_not(refusal: Refusal | None) -> None:
    made = stopped(world.job(), refusal=refusal)
    told = world.told(made)
    assert told["Suspended"] == ("False", "Suspending")
    assert told["Running"] == ("True", "Training")
    assert told["PodsReady"] == ("True", "AllPodsReady")
    assert made.status.phase is Phase.RUNNING
    assert "Suspended" not in {notice.reason for notice in made.notices}


def test_it_is_told_as_resumed_where_the_wish_is_taken_back() -> None:
    stopping = stopped(world.job(), refusal=REFUSED)
    assert world.told(world.followed(stopping, world.observed()))["Suspended"][1] == "Resumed"


@pytest.mark.parametrize(
    ("job", "kind"),
    [
        (world.job(), Merge),
        (world.job(world.run(**QUEUE)), Delete),
        (world.job(world.run(training={"iterations": 300, "batchSize": 64})), Delete),
    ],
    ids=["suspended", "of a queue", "of another spec"],
)
def test_what_stops_a_run_waits_for_nothing(job: Job, kind: type) -> None:
    stops = [action for action in stopped(job).actions if isinstance(action, Merge | Delete)]
    assert [type(action) for action in stops] == [kind]
    assert not stops[0].dependent
