"""Pods that are lost, each in its own way: told as what it was, and the run goes on."""

from __future__ import annotations

import contextlib
import copy
import json
import signal
import uuid
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from tests.cluster import kubectl, runs
from tests.cluster.controller import PATIENT_LEASE, Operator, alone, running
from tests.cluster.ghost import haunted

pytestmark = pytest.mark.cluster

SLOT = "sid-test.dev/slot"


def lasting(namespace: str, name: str, **spec: Any) -> dict[str, Any]:
    """A run that does not end by itself in time for a test, with a checkpoint every few seconds."""
    base = {
        "training": {"iterations": 100_000, "batchSize": 4, "watchdogSeconds": 30},
        "checkpoint": {"everyIterations": 20},
        "evaluation": {"everyIterations": 100_000},
    }
    return runs.digits(namespace, name, **runs.merged(base, spec))


@contextlib.contextmanager
def one_slot() -> Iterator[None]:
    """The node has one of a resource that stands for a GPU."""
    (node,) = (item["metadata"]["name"] for item in kubectl.get("nodes")["items"])
    path = "/status/capacity/" + SLOT.replace("/", "~1")

    def patch(**change: str) -> None:
        text = json.dumps([{"path": path, **change}])
        target = ("node", node, "--subresource=status", "--type=json", "-p", text)
        kubectl.kubectl("patch", *target)

    patch(op="add", value="1")
    try:
        yield
    finally:
        patch(op="remove")


@contextlib.contextmanager
def priorities() -> Iterator[tuple[str, str]]:
    """Names of two priority classes, the lower one first."""
    mark = uuid.uuid4().hex[:6]
    names = (f"low-{mark}", f"high-{mark}")
    kind = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass"}
    kubectl.apply(
        *(kind | {"metadata": {"name": n}, "value": value} for value, n in enumerate(names, 1))
    )
    try:
        yield names
    finally:
        kubectl.kubectl("delete", "priorityclass", *names)


def rival(namespace: str, priority: str) -> dict[str, Any]:
    """A pod that wants the one slot."""
    pause = runs.image_that_is_there("pause")
    resources = {"limits": {SLOT: "1"}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "rival", "namespace": namespace},
        "spec": {
            "priorityClassName": priority,
            "containers": [{"name": "pause", "image": pause, "resources": resources}],
        },
    }


def told(namespace: str, name: str, words: str) -> bool:
    """Whether a warning about the resource has these words."""
    found = runs.events(namespace, name)
    return any(kind == "Warning" and words in f"{reason} {text}" for kind, reason, text in found)


def starts(namespace: str, name: str) -> bool:
    """Whether the pods have begun to run."""
    return kubectl.is_true(runs.read(namespace, name), "PodsReady")


@pytest.mark.campaign
def test_evicted_and_preempted_pods_are_told_and_not_counted(space: str) -> None:
    with one_slot(), priorities() as (low, high):
        slot = {"nodes": 1, "resources": {"limits": {SLOT: "1"}}}
        never = {"runPolicy": {"backoffLimit": 0}}
        preempted = {"workers": slot, "scheduling": {"priorityClassName": low}}
        kubectl.apply(
            lasting(space, "evicted", workers={"nodes": 1}, **never),
            lasting(space, "preempted", **preempted, **never),
        )
        for name in ("evicted", "preempted"):
            kubectl.wait_until(f"{name} starts", partial(starts, space, name), seconds=120)
        runs.evict(space, runs.pod(space, "evicted", 0)["metadata"]["name"])
        kubectl.apply(rival(space, high))
        for name, reason in (("evicted", "Evicted in pod"), ("preempted", "Preempted in pod")):
            kubectl.wait_until(f"{reason} is told", partial(told, space, name, reason), seconds=120)
        kubectl.kubectl("delete", "pod", "rival", "-n", space, "--grace-period=1")
        for name in ("evicted", "preempted"):
            kubectl.wait_until(f"{name} goes on", partial(starts, space, name), seconds=180)
            assert runs.read(space, name)["status"]["phase"] != "Failed"
            assert not kubectl.get("job", name, "-n", space)["status"].get("failed")


@pytest.mark.campaign
def test_a_gang_goes_on_whatever_its_processes_suffer(space: str) -> None:
    """One run of two pods; each blow costs one attempt, and is told as what it was."""
    kubectl.apply(lasting(space, "run"))
    runs.wait_for_iteration(space, "run", 20, seconds=600)

    def blow(restarts: int, words: str) -> None:
        """Wait until it is told, and the run goes on."""
        kubectl.wait_until(words, lambda: told(space, "run", words), seconds=300)

        seen: list[int] = []

        def goes_on() -> dict[str, Any] | None:
            """The new group has made iterations: what it is told of is no longer the old one's."""
            resource = runs.read(space, "run")
            status = resource["status"]
            if not kubectl.is_true(resource, "Running") or status["restarts"] < restarts:
                seen.clear()
                return None
            seen.append(status["progress"]["iteration"])
            return status if seen[-1] > max(20, seen[0]) else None

        status = kubectl.wait_until("the run goes on", goes_on, seconds=600)
        assert status["restarts"] == restarts
        assert "failure" not in status
        # What a frozen rank 0 has not written is lost with it: wait before the next blow.
        kubectl.wait_until(
            "metrics of this attempt",
            lambda: len(runs.first_iterations(space, "run")) == restarts + 1,
            seconds=240,
        )

    victim = runs.pod(space, "run", 1)["metadata"]["name"]
    runs.signal_worker(space, victim, signal.SIGKILL)
    blow(1, "ended with signal SIGKILL")
    lost = kubectl.get("pod", victim, "-n", space)
    (container,) = lost["status"]["containerStatuses"]
    assert container["state"]["terminated"]["exitCode"] == 1
    assert "SIGKILL" in kubectl.kubectl("logs", "-n", space, victim)

    runs.evict(space, runs.pod(space, "run", 0)["metadata"]["name"])
    blow(2, "Evicted in pod")

    for index, restarts in ((1, 3), (0, 4)):
        frozen = runs.pod(space, "run", index)["metadata"]["name"]
        runs.signal_worker(space, frozen, signal.SIGSTOP)
        blow(restarts, f"rank {index} gave no sign of life")

    # Pods that failed: one killed, two frozen. The evicted one is not counted.
    assert kubectl.get("job", "run", "-n", space)["status"]["failed"] == 3

    first, *later = runs.first_iterations(space, "run")
    assert first == 1
    assert all(one > 20 for one in later), "each went on from a checkpoint"
    assert later == sorted(later)


@pytest.mark.campaign
@pytest.mark.parametrize("origin", ["the same Job", "an earlier Job"])
def test_a_straggler_does_not_join(space: str, origin: str) -> None:
    """A pod that was given up, as its node is cut off, and that lives on all the same."""
    kubectl.apply(lasting(space, "run"))
    runs.wait_for_iteration(space, "run", 20, seconds=600)
    pod = runs.pod(space, "run", 1)
    kubectl.apply(straggler(pod, earlier=origin == "an earlier Job"))
    words = "agent started" if origin == "an earlier Job" else "is not among the addresses"

    def waits() -> bool:
        started = kubectl.get("pod", "straggler", "-n", space)["status"]["phase"] == "Running"
        return started and words in kubectl.kubectl("logs", "-n", space, "straggler")

    kubectl.wait_until("the straggler waits", waits, seconds=300)
    # The group breaks and forms anew, with the straggler at the door.
    runs.signal_worker(space, pod["metadata"]["name"], signal.SIGKILL)

    def goes_on() -> bool:
        resource = runs.read(space, "run")
        return kubectl.is_true(resource, "Running") and resource["status"]["restarts"] == 1

    kubectl.wait_until("the run goes on", goes_on, seconds=600)
    assert not runs.workers(space, "straggler")
    assert runs.workers(space, runs.pod(space, "run", 1)["metadata"]["name"])


def straggler(pod: dict[str, Any], *, earlier: bool) -> dict[str, Any]:
    """A pod that does what another one does, and that its Job knows nothing of.

    One of an earlier Job is still among the addresses of the run; one of the same Job, which was
    replaced, is not.
    """
    labels = pod["metadata"]["labels"]
    own = {"SID_GANG": labels["batch.kubernetes.io/controller-uid"], "JOB_COMPLETION_INDEX": "1"}
    kept = {"app": "straggler"}
    if earlier:
        own["SID_GANG"] = "another"
        names = ("sid-dit.dev/distillation", "batch.kubernetes.io/job-name")
        kept = {name: labels[name] for name in names}
    spec = copy.deepcopy(pod["spec"])
    container = spec["containers"][0]
    others = [entry for entry in container["env"] if entry["name"] not in own]
    container["env"] = others + [{"name": name, "value": value} for name, value in own.items()]
    for field in ("nodeName", "hostname", "subdomain"):
        spec.pop(field, None)
    metadata = {
        "name": "straggler",
        "namespace": pod["metadata"]["namespace"],
        "labels": kept,
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


@pytest.mark.campaign
def test_a_lost_node_is_told_and_given_up_by_its_administrator(
    namespace: str, tmp_path: Any
) -> None:
    """After 50 s of silence the control plane doubts the node; nobody ends the pod it deletes."""
    own = Operator(namespace, tmp_path / "operator.log", lease=PATIENT_LEASE)
    label = f"sid-test.dev/pool={namespace}"
    (node,) = (item["metadata"]["name"] for item in kubectl.get("nodes")["items"])
    with alone(), running(own) as operator, haunted(namespace) as ghost:
        operator.start()
        workers = {
            **ghost.workers,
            "nodes": 1,
            "image": "registry.invalid/none:1",
            "terminationGracePeriodSeconds": 1,
        }
        kubectl.apply(lasting(namespace, "run", workers=workers))
        pod = kubectl.wait_until("a pod is bound", lambda: _bound(namespace), seconds=60)
        ghost.run(namespace, pod)

        def failure() -> dict[str, Any]:
            found: dict[str, Any] = runs.read(namespace, "run")["status"].get("failure", {})
            return found

        kubectl.wait_until(
            "NodeLost is told", lambda: failure().get("reason") == "NodeLost", seconds=180
        )
        assert (failure()["pod"], ghost.name in failure()["message"]) == (pod, True)
        kubectl.kubectl("label", "node", node, label)
        try:
            ghost.shut_down()
            kubectl.wait_until(
                "another node takes the replacement",
                lambda: failure().get("reason") == "ImagePullFailed",
                seconds=120,
            )
        finally:
            kubectl.kubectl("label", "node", node, label.partition("=")[0] + "-")
        assert not kubectl.get("job", "run", "-n", namespace)["status"].get("failed")
    assert "Traceback" not in own.told()


def _bound(namespace: str) -> str:
    pods = runs.pods(namespace, "run")
    return next((p["metadata"]["name"] for p in pods if p["spec"].get("nodeName")), "")
