"""Pods that Kubernetes takes away, and nodes that do not answer: told as what they are."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from sid_operator.plan.decide import plan
from sid_operator.plan.failure import pod_cause
from sid_operator.plan.model import Plan
from sid_operator.plan.pods import Pod, pod_of
from tests.unit.operator import world

ASKED_TO_END = {"reason": "Terminated", "message": "the pod was told to end (SIGTERM)"}


def disruption(reason: str, message: str = "") -> dict[str, Any]:
    return world.condition("DisruptionTarget", reason, message)


def taken(reason: str, failure: dict[str, Any] | None = None, code: int = 143, **more: Any) -> Pod:
    """Pod 1, which Kubernetes took away, with the last record of its trainer."""
    record = json.dumps({"state": "failed", "failure": failure or ASKED_TO_END})
    return world.ended(1, code, record, conditions=[disruption(reason, "words")], **more)


def running(index: int, *, silent: bool = False, leaving_since: float | None = None) -> Pod:
    """A pod whose container runs; its grace period of 30 s began so many seconds ago."""
    obj = world.raw_pod(
        index,
        phase="Running",
        podIP=f"10.0.0.{index + 1}",
        conditions=[world.condition("Ready", status="False" if silent else "True")],
        containerStatuses=[{"name": "trainer", "ready": True, "state": {"running": {}}}],
    )
    if leaving_since is not None:
        obj["metadata"]["deletionTimestamp"] = world.at(leaving_since - 30)
    return pod_of(obj)


def test_a_sidecar_that_is_not_ready_is_no_silent_node() -> None:
    obj = world.raw_pod(0, phase="Running", conditions=[world.condition("Ready", status="False")])
    trainer, proxy = (
        {"name": name, "ready": name == "trainer", "state": {"running": {}}}
        for name in ("trainer", "istio-proxy")
    )
    obj["status"]["containerStatuses"] = [proxy, trainer]
    assert not pod_of(obj).node_silent
    obj["status"]["containerStatuses"] = [proxy | {"ready": True}, trainer]
    assert pod_of(obj).node_silent


@pytest.fixture
def trains() -> Plan:
    seen = world.observed(pods=(running(0), running(1)), report=world.report())
    return plan(world.resource(), seen, world.NOW)


@pytest.mark.parametrize(
    ("told", "reason", "words"),
    [
        ("EvictionByEvictionAPI", "Evicted", "evicted from node node-1: words. That does not"),
        ("DeletionByTaintManager", "Evicted", "node-1: words"),
        ("TerminationByKubelet", "Evicted", "node-1: words"),
        ("PreemptionByScheduler", "Preempted", "scheduling.priorityClassName"),
        ("DeletionByPodGC", "NodeLost", "Node node-1 is gone: words"),
        ("SomethingNew", "Evicted", "words"),
    ],
)
def test_who_took_a_pod_away_explains_that_it_ended(told: str, reason: str, words: str) -> None:
    lost_its_peer = world.ended(0, 80, ago=9)
    for pod in (taken(told), taken(told, gone=True), taken(told, code=137)):
        cause = pod_cause([lost_its_peer, pod])
        assert cause is not None
        assert (cause.reason, cause.pod) == (reason, "digits-1-a")
        assert words in cause.message


def test_the_kubelets_own_words_are_preferred() -> None:
    pod = replace(taken("TerminationByKubelet"), message="The node was low on memory.")
    cause = pod_cause([pod])
    assert cause is not None
    assert "node-1: The node was low on memory. That" in cause.message


def test_a_failure_of_its_own_is_not_explained_away() -> None:
    cause = pod_cause([taken("EvictionByEvictionAPI", {"reason": "OutOfMemory", "message": "GPU"})])
    assert cause is not None
    assert (cause.reason, cause.message) == ("OutOfMemory", "GPU")


def test_a_disruption_is_told_before_the_pod_has_ended(trains: Plan) -> None:
    obj = world.raw_pod(1, phase="Running", conditions=[disruption("PreemptionByScheduler")])
    obj["metadata"]["deletionTimestamp"] = world.at(0)
    now = world.followed(trains, world.observed(pods=(running(0), pod_of(obj))))
    assert world.told(now)["Running"] == ("False", "Restarting")
    assert now.status.failure is not None
    assert now.status.failure.reason == "Preempted"
    (told,) = now.notices
    assert (told.type, told.reason) == ("Warning", "Restarting")
    assert "Preempted in pod digits-1-a" in told.message


def test_a_pod_that_ended_well_is_no_failure() -> None:
    obj = world.raw_pod(
        1,
        phase="Succeeded",
        conditions=[disruption("EvictionByEvictionAPI")],
        containerStatuses=[
            {"name": "trainer", "state": {"terminated": {"exitCode": 0, "finishedAt": world.at(1)}}}
        ],
    )
    assert pod_cause([pod_of(obj, gone=True)]) is None


def test_a_silent_node_is_told_with_the_way_out(trains: Plan) -> None:
    silent = world.observed(pods=(running(0), running(1, silent=True)))
    now = world.followed(trains, silent)
    assert world.told(now)["PodsReady"] == ("False", "NodeLost")
    assert now.status.failure is not None
    assert (now.status.failure.reason, now.status.failure.pod) == ("NodeLost", "digits-1-a")
    assert "out-of-service" in now.status.failure.message
    assert [n.reason for n in now.notices if n.type == "Warning"] == ["Restarting"]
    again = world.followed(now, silent)
    assert again.notices == ()
    assert again.status == now.status


def test_a_pod_that_does_not_go_is_told_when_its_time_is_over(trains: Plan) -> None:
    """Pod 1 was told to end, and nobody ends it: the kubelet would have after its grace period."""

    def seen(seconds: float) -> Plan:
        still = running(1, leaving_since=seconds)
        return world.followed(trains, world.observed(pods=(running(0), still)))

    early = seen(40)
    assert early.status.failure is None
    assert early.look_again_after is not None
    assert early.look_again_after <= 20
    late = seen(61)
    assert late.status.failure is not None
    assert late.status.failure.reason == "NodeLost"
    assert late.actions == ()
    given_up = replace(running(1, leaving_since=61), phase="Failed")
    released = world.followed(late, world.observed(pods=(running(0), given_up)))
    assert world.told(released)["PodsReady"] == ("False", "PodsStarting")


def test_a_pod_that_was_removed_by_force_is_waited_for_no_longer(trains: Plan) -> None:
    obj = world.raw_pod(1, phase="Running", containerStatuses=[])
    obj["metadata"]["deletionTimestamp"] = world.at(300)
    gone = pod_of(obj, gone=True)
    now = world.followed(trains, world.observed(pods=(running(0), gone)))
    assert now.status.failure is None
    assert (gone.gone_by, gone.node_silent) == (None, False)


def test_unready_pods_are_no_proof_of_a_lost_node() -> None:
    starting = world.raw_pod(
        0,
        phase="Running",
        conditions=[world.condition("Ready", status="False")],
        containerStatuses=[{"name": "trainer", "ready": False, "state": {"running": {}}}],
    )
    assert not pod_of(starting).node_silent
