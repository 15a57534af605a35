"""A change of the spec in place is told as what it is, and never as a failure."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from sid_operator.api.conditions import Phase
from sid_operator.plan.decide import plan
from sid_operator.plan.model import (
    Apply,
    Delete,
    Observed,
    Plan,
    Refusal,
    Resource,
    Try,
    status_json,
)
from sid_operator.plan.pods import Pod
from sid_operator.resources.job import job
from tests.unit.operator import world
from tests.unit.operator.world import NOW

CHANGED: dict[str, Any] = {"training": {"iterations": 300, "batchSize": 64}}
OF = world.run(**CHANGED)
ENDING = (world.ended(0, 143, gone=True), world.ended(1, 80, gone=True))


def resource(before: Plan, generation: int = 2, **spec: Any) -> Resource:
    """The resource with a plan's status, after a change of its spec."""
    return dataclasses.replace(
        world.resource(status_json(before.status), **spec), generation=generation
    )


def outdated(deleting: bool = False, pods: tuple[Pod, ...] = world.READY_PODS) -> Observed:
    """The children once the ConfigMap is changed: the Job is still that of the first spec."""
    return world.observed(OF, job=dataclasses.replace(world.job(), deleting=deleting), pods=pods)


def absent(**parts: Any) -> Observed:
    return world.observed(OF, job=None, **parts)


def anew(pods: tuple[Pod, ...] = (), **parts: Any) -> Observed:
    return world.observed(OF, job=world.job(OF), pods=pods, **parts)


FRESH = (world.ready(0, suffix="b", age=3, since=1), world.ready(1, suffix="b", age=3, since=1))
WAY = (
    outdated(),
    outdated(deleting=True),
    outdated(deleting=True, pods=ENDING),
    absent(),
    anew(),
    anew(FRESH),
)


@pytest.mark.parametrize("missed", [0, 1, 2, 3, 5])
def test_a_change_is_no_failure_though_steps_of_it_are_missed(running: Plan, missed: int) -> None:
    """Before it makes a new Job, the operator sees that there is none."""
    made, told = running, []
    for step in WAY[missed:]:
        made = plan(resource(made, **CHANGED), step, NOW)
        told += list(made.notices)
        told += [one.notice for one in made.actions if one.notice is not None]
        assert made.status.phase in (Phase.PENDING, Phase.STARTING, Phase.RUNNING)
        assert made.status.failure is None
    assert {notice.type for notice in told} <= {"Normal"}
    assert {notice.reason for notice in told} <= {"Recreating", "Starting"}


def test_it_says_so_while_the_pods_are_made_anew(running: Plan) -> None:
    ending = plan(resource(running, **CHANGED), WAY[2], NOW)
    assert world.told(ending)["Running"] == ("False", "SpecChanged")
    gone = plan(resource(ending, **CHANGED), absent(), NOW)
    assert world.told(gone)["Running"] == ("False", "SpecChanged")
    again = plan(resource(gone, **CHANGED), anew(), NOW)
    assert world.told(again)["Running"] == ("False", "NotStarted")
    trained = world.report(attempt=2, iteration=251, time=NOW)
    back = plan(resource(again, **CHANGED), anew(FRESH, report=trained), NOW)
    assert back.status.phase is Phase.RUNNING


def test_the_failure_of_a_run_that_crashes_is_forgotten_when_it_is_corrected(
    running: Plan,
) -> None:
    crashed = (world.ended(0, 80), world.ended(1, 137, reason="OOMKilled"))
    restarting = world.followed(running, world.observed(pods=crashed))
    assert restarting.status.failure is not None
    corrected = plan(resource(restarting, **CHANGED), outdated(deleting=True, pods=crashed), NOW)
    assert corrected.status.failure is None
    assert corrected.status.phase is Phase.PENDING


def test_pods_of_the_new_job_that_fail_are_a_failure(running: Plan) -> None:
    made = running
    for step in WAY[:5]:
        made = plan(resource(made, **CHANGED), step, NOW)
    job = world.job(OF)
    failed = world.observed(OF, job=job, pods=(world.ended(0, 1), world.ended(1, 80)))
    broken = plan(resource(made, **CHANGED), failed, NOW)
    assert broken.status.phase is Phase.RESTARTING


def test_a_run_whose_job_may_not_be_deleted_trains_on(running: Plan) -> None:
    refused = dataclasses.replace(outdated(), refusal=Refusal("Job", world.NAME, "forbidden"))
    made = plan(resource(running, **CHANGED), refused, NOW)
    assert world.told(made)["Running"] == ("True", "Training")


def test_what_would_replace_a_job_is_asked_for_first(running: Plan) -> None:
    """The pods that the old Job makes meanwhile read the old configuration."""
    seen = dataclasses.replace(outdated(), config_map=world.observed().config_map)
    actions = plan(resource(running, **CHANGED), seen, NOW).actions
    assert [(type(one), one.kind.name) for one in actions] == [
        (Try, "Job"),
        (Apply, "ConfigMap"),
        (Delete, "Job"),
    ]
    assert all(one.dependent for one in actions)
    tried = actions[0]
    assert isinstance(tried, Try)
    assert tried.manifest == job(OF)


@pytest.mark.parametrize(
    ("seen", "spec"),
    [
        (absent(), {}),
        (outdated(deleting=True), {}),
        (outdated(), {"runPolicy": {"suspend": True}}),
        (
            world.observed(OF, job=world.job(conditions=(world.condition("Complete"),))),
            {},
        ),
        (anew(), {}),
    ],
    ids=["no Job", "it is being deleted", "the run stands still", "it has ended", "it fits"],
)
def test_nothing_is_asked_where_no_job_that_may_train_is_replaced(
    running: Plan, seen: Observed, spec: dict[str, Any]
) -> None:
    actions = plan(resource(running, **CHANGED, **spec), seen, NOW).actions
    assert not any(isinstance(one, Try) for one in actions)


def test_a_change_that_the_cluster_does_not_take_is_told_beside_the_run(running: Plan) -> None:
    refused = Refusal("Job", world.NAME, "HugePages require cpu or memory", only_tried=True)
    seen = dataclasses.replace(outdated(), refusal=refused)
    made = plan(resource(running, **CHANGED), seen, NOW)
    assert made.actions == ()
    assert made.status.phase is Phase.RUNNING
    assert world.told(made)["Running"] == ("True", "Training")
    assert made.status.failure is not None
    assert "HugePages require cpu or memory." in made.status.failure.message
    assert made.status.failure.message.endswith("goes on as it was before the change.")


def test_a_lost_job_is_a_loss_where_the_spec_is_the_same(running: Plan) -> None:
    (action,) = plan(resource(running, generation=1), world.observed(job=None), NOW).actions
    assert isinstance(action, Apply)
    assert action.notice is not None
    assert action.notice.reason == "Restored"


def test_a_job_that_was_deleted_to_suspend_is_not_told_as_lost(running: Plan) -> None:
    """As it is where a queue owns its ``suspend``."""
    stop = {"runPolicy": {"suspend": True}}
    stopped = plan(resource(running, **stop), world.observed(job=None), NOW)
    resumed = plan(resource(stopped, generation=3), world.observed(job=None), NOW)
    (action,) = resumed.actions
    assert action.notice is None
    assert world.told(resumed)["Running"] == ("False", "NotStarted")
