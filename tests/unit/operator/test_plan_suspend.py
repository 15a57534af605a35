"""``plan``: runs that are suspended, by their user or by a queue."""

from __future__ import annotations

import dataclasses

from sid_operator.api.conditions import Phase
from sid_operator.kube.kinds import CONFIG_MAPS, JOBS, SERVICES
from sid_operator.plan.model import (
    Child,
    Delete,
    Merge,
    Observed,
    Plan,
)
from tests.unit.operator import world
from tests.unit.operator.world import NOW


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
    assert stopping.status.phase is Phase.SUSPENDED
    assert world.told(stopping)["Suspended"] == ("True", "SuspendedByUser")
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
