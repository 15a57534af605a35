"""``plan``: what pods wait for is told, and forgotten when it is cured."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest

from sid_operator.api.conditions import Phase
from sid_operator.plan.model import (
    CreationFailure,
)
from sid_operator.plan.pods import pod_of
from tests.unit.operator import world
from tests.unit.operator.world import NOW


def test_waiting_causes_are_told_once_and_forgotten_when_cured() -> None:
    missing = tuple(
        world.waiting(i, "CreateContainerConfigError", 'secret "credentials" not found')
        for i in range(2)
    )
    stuck = world.first(world.observed(pods=missing))
    assert world.told(stuck)["PodsReady"] == ("False", "SecretNotFound")
    assert stuck.status.failure is not None
    assert "checkpoint.secretRef" in stuck.status.failure.message
    assert [n.reason for n in stuck.notices] == ["Created", "Starting", "SecretNotFound"]
    still = world.followed(stuck, world.observed(pods=missing))
    assert still.notices == ()
    cured = world.followed(still, world.observed(pods=world.READY_PODS))
    assert cured.status.failure is None


def test_pods_that_cannot_be_created_are_told_from_the_jobs_events() -> None:
    unaware = world.first(world.observed())
    assert unaware.wants_creation_failures
    failure = CreationFailure(NOW, 'Error creating: pods "digits-0-x" is forbidden: exceeded quota')
    stuck = world.first(world.observed(creation_failures=(failure,)))
    assert world.told(stuck)["PodsReady"] == ("False", "PodsNotCreated")
    assert "exceeded quota" in stuck.notices[-1].message
    assert "digits-0-x" not in stuck.notices[-1].message
    old = CreationFailure(NOW - timedelta(seconds=100), "Error creating: exceeded quota")
    assert world.first(world.observed(creation_failures=(old,))).status.failure is None


def test_a_young_job_is_given_time_to_create_its_pods() -> None:
    young = dataclasses.replace(world.job(), created=NOW, started=NOW)
    made = world.first(world.observed(job=young))
    assert not made.wants_creation_failures
    assert made.look_again_after == 10


@pytest.mark.parametrize(("waited", "again"), [(10, 10), (80, 80), (3600, 600)])
def test_missing_pods_are_asked_about_ever_more_rarely(waited: int, again: int) -> None:
    since = NOW - timedelta(seconds=waited)
    job = dataclasses.replace(world.job(), created=since, started=since)
    assert world.first(world.observed(job=job)).look_again_after == again


def test_unschedulable_pods_are_told_with_the_schedulers_words() -> None:
    message = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    obj = world.raw_pod(0)
    obj["spec"] = {}
    obj["status"]["conditions"] = [
        world.condition("PodScheduled", "Unschedulable", message, status="False")
    ]
    stuck = world.first(world.observed(pods=(pod_of(obj),)))
    assert world.told(stuck)["PodsReady"] == ("False", "Unschedulable")
    assert stuck.status.phase is Phase.PENDING
    assert stuck.status.failure is not None
    assert "Insufficient nvidia.com/gpu" in stuck.status.failure.message
