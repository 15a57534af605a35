"""Pods without containers: what their events tell, and when those are asked for."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from sid_operator.plan.causes import Cause
from sid_operator.plan.decide import plan
from sid_operator.plan.model import PodEvent, PodQuestion
from sid_operator.plan.pod_events import asked_after, event_cause, wanted_events
from sid_operator.plan.pods import Pod, pod_of
from tests.unit.operator import world
from tests.unit.operator.world import NOW

SANDBOX, CLAIM, MOUNT = "FailedCreatePodSandBox", "FailedResourceClaimCreation", "FailedMount"
CREATING = world.waiting(0, "ContainerCreating")
UNCLAIMED = world.unplaced(0, schedulerName="default-scheduler")
NO_RUNTIME = (
    "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to get sandbox runtime: "
    'no runtime for "kata" is configured'
)
NO_ADDRESS = (
    "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for "
    'sandbox "{}": plugin type="calico" failed (add): no addresses left'
)
NO_TEMPLATE = 'PodResourceClaim gpus: resource claim template "eight": not found'
BUNDLED = {
    "checkpoint": {
        "bucket": "sid",
        "endpoint": "https://minio.minio:9000",
        "secretRef": {"name": "credentials"},
        "caBundleRef": {"name": "authorities"},
    }
}


@pytest.mark.parametrize(
    ("message", "reason", "words"),
    [
        (
            'MountVolume.SetUp failed for volume "ca-bundle" : configmap "authorities" not found',
            "CaBundleNotFound",
            'ConfigMap "authorities" is not in namespace "team": create it, or name another in '
            "checkpoint.caBundleRef",
        ),
        (
            'MountVolume.SetUp failed for volume "ca-bundle" : configmap references non-existent '
            "config key: ca.crt",
            "CaBundleNotFound",
            'has no key "ca.crt": add it',
        ),
        (
            'MountVolume.SetUp failed for volume "claim-models" : mount failed: exit status 32',
            "VolumeNotMounted",
            "A volume of pod digits-0-a cannot be mounted: mount failed: exit status 32",
        ),
    ],
)
def test_a_volume_that_is_not_mounted_is_told(message: str, reason: str, words: str) -> None:
    found = told(world.run(**BUNDLED), CREATING, (MOUNT, 5, "before"), (MOUNT, 0, message))
    assert found is not None
    assert found.reason == reason
    assert words in found.message


def with_workers(**fields: Any) -> dict[str, Any]:
    return {"workers": world.raw()["spec"]["workers"] | fields}


def told(run: Any, pod: Pod, *events: tuple[str, float, str]) -> Cause | None:
    """The cause by events of the pod: reason, seconds ago, message."""
    known = tuple(
        PodEvent(NOW - timedelta(seconds=ago), message, pod.uid, reason)
        for reason, ago, message in events
    )
    return event_cause(run, world.observed(pods=(pod,), pod_events=known), NOW)


@pytest.mark.parametrize(
    ("of", "pod", "reason", "message", "cause", "words"),
    [
        (
            with_workers(runtimeClassName="kata"),
            CREATING,
            SANDBOX,
            NO_RUNTIME,
            "SandboxNotCreated",
            "Node node-1 cannot set up pod digits-0-a: failed to get sandbox runtime: no runtime "
            'for "kata" is configured. Does the node have what RuntimeClass "kata" asks for?',
        ),
        (
            {},
            CREATING,
            SANDBOX,
            NO_ADDRESS.format("5f" * 32),
            "SandboxNotCreated",
            'network for sandbox: plugin type="calico" failed (add): no addresses left. Ask',
        ),
        (
            with_workers(resourceClaims=[{"name": "gpus", "resourceClaimTemplateName": "eight"}]),
            UNCLAIMED,
            CLAIM,
            NO_TEMPLATE,
            "ResourceClaimMissing",
            'template "eight": not found. Create what is missing, or correct',
        ),
    ],
)
def test_what_keeps_a_pod_from_its_containers_is_told(
    of: dict[str, Any], pod: Pod, reason: str, message: str, cause: str, words: str
) -> None:
    found = told(world.run(**of), pod, (reason, 20, message))
    assert found is not None
    assert (found.reason, found.pod) == (cause, pod.name)
    assert words in found.message


def test_a_try_with_another_sandbox_is_no_news() -> None:
    tries = [(SANDBOX, 9.0, NO_ADDRESS.format(digit * 64)) for digit in "5f"]
    assert len({told(world.run(), CREATING, one) for one in tries}) == 1


def test_what_was_not_told_again_is_over() -> None:
    """The network of a node came up, and a large image is being pulled."""
    assert told(world.run(), CREATING, (SANDBOX, 600, NO_RUNTIME)) is not None
    assert told(world.run(), CREATING, (SANDBOX, 601, NO_RUNTIME)) is None


def test_of_a_gang_the_pod_in_trouble_is_told() -> None:
    pods = tuple(world.waiting(index, "ContainerCreating") for index in range(2))
    later = pods[0].created + timedelta(seconds=60)
    seen = world.observed(pods=pods)
    assert wanted_events(world.run(), seen, later) == tuple(
        PodQuestion(pod.uid, SANDBOX) for pod in pods
    )
    event = PodEvent(NOW, NO_RUNTIME, pods[1].uid, SANDBOX)
    found = event_cause(world.run(), world.observed(pods=pods, pod_events=(event,)), NOW)
    assert found is not None
    assert found.pod == "digits-1-a"


@pytest.mark.parametrize(
    ("of", "pod", "waited", "asked", "again"),
    [
        (BUNDLED, CREATING, 0, (), 10),
        (BUNDLED, CREATING, 80, (MOUNT, SANDBOX), 80),
        ({}, CREATING, 29, (), 30),
        ({}, CREATING, 30, (SANDBOX,), 30),
        ({}, CREATING, 240, (SANDBOX,), 240),
        (BUNDLED, world.waiting(0, "ImagePullBackOff"), 80, (), None),
        ({}, world.ready(0), 80, (), None),
        ({}, UNCLAIMED, 80, (), None),
        (
            with_workers(resourceClaims=[{"name": "a", "resourceClaimName": "b"}]),
            UNCLAIMED,
            9,
            (),
            10,
        ),
        (
            with_workers(resourceClaims=[{"name": "a", "resourceClaimName": "b"}]),
            UNCLAIMED,
            40,
            (CLAIM,),
            40,
        ),
    ],
)
def test_events_are_asked_for_only_where_something_may_be_missing_and_ever_more_rarely(
    of: dict[str, Any], pod: Pod, waited: int, asked: tuple[str, ...], again: float | None
) -> None:
    run, seen, now = world.run(**of), world.observed(pods=(pod,)), pod.created
    now += timedelta(seconds=waited)
    questions = wanted_events(run, seen, now)
    assert questions == tuple(PodQuestion(pod.uid, reason) for reason in asked)
    assert asked_after(run, seen, now) == again


def test_a_pod_that_waited_for_a_node_is_asked_about_from_then_on() -> None:
    placed = {"type": "PodScheduled", "status": "True", "lastTransitionTime": world.at(5)}
    creating = [{"name": "trainer", "state": {"waiting": {"reason": "ContainerCreating"}}}]
    obj = world.raw_pod(0, age=9000, conditions=[placed], containerStatuses=creating)
    seen = world.observed(pods=(pod_of(obj), world.ready(1)))
    young = plan(world.resource(), seen, NOW)
    assert young.wants_pod_events == ()
    assert young.look_again_after == 30
