"""Runs in a queue: ``suspend`` of their Job is the queue's, as Kueue uses it.

A stand-in does to the Job what Kueue's integration of Jobs does: it suspends it at creation, admits
it with the node labels of a flavour, and evicts it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import kubectl, life
from tests.cluster.control_plane.operator import complaints, operating
from tests.cluster.control_plane.plane import ControlPlane

pytestmark = pytest.mark.cluster

QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
CLASS_LABEL = "kueue.x-k8s.io/priority-class"
FLAVOUR = {"cloud.example.org/pool": "spot"}


def suspended_at_creation() -> list[dict[str, Any]]:
    """A policy that suspends every new Job with a queue, as Kueue's webhook does."""
    api = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": "queue"}}
    patch = 'JSONPatch{op: "add", path: "/spec/suspend", value: true}'
    rule = {
        "apiGroups": ["batch"],
        "apiVersions": ["v1"],
        "resources": ["jobs"],
        "operations": ["CREATE"],
    }
    return [
        {
            **api,
            "kind": "MutatingAdmissionPolicy",
            "spec": {
                "reinvocationPolicy": "Never",
                "matchConstraints": {
                    "resourceRules": [rule],
                    "objectSelector": {
                        "matchExpressions": [{"key": QUEUE_LABEL, "operator": "Exists"}]
                    },
                },
                "mutations": [
                    {"patchType": "JSONPatch", "jsonPatch": {"expression": f"[{patch}]"}}
                ],
            },
        },
        {**api, "kind": "MutatingAdmissionPolicyBinding", "spec": {"policyName": "queue"}},
    ]


@pytest.fixture
def queued(namespace: str, plane: ControlPlane, tmp_path: Path) -> Iterator[str]:
    """A namespace with a run that waits in a queue, and the checkout's operator at work."""
    kubectl.apply(*suspended_at_creation())
    log = tmp_path / "log"
    with operating(plane, log, "--namespace", namespace, "--lease-namespace", namespace):
        resource = life.run_of(namespace)
        resource["spec"]["scheduling"] = {"queueName": "team", "workloadPriorityClass": "low"}
        # The policy is in force a moment after it was stored: a trial shows when.
        kubectl.wait_until("the stand-in acts", lambda: suspends_a_trial(namespace), seconds=30)
        kubectl.apply(resource)
        yield namespace
    assert complaints(log) == []


def suspends_a_trial(namespace: str) -> bool:
    """Whether a Job with a queue would be suspended."""
    pod = {"restartPolicy": "Never", "containers": [{"name": "x", "image": "x"}]}
    trial = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "trial", "namespace": namespace, "labels": {QUEUE_LABEL: "team"}},
        "spec": {"template": {"spec": pod}},
    }
    command = ("create", "--dry-run=server", "-o", "json", "-f", "-")
    created = json.loads(kubectl.kubectl(*command, stdin=json.dumps(trial)))
    return bool(created["spec"].get("suspend"))


def job(namespace: str) -> dict[str, Any]:
    return kubectl.get("job", "run", "-n", namespace)


def patch_job(namespace: str, subresource: str = "", **fields: Any) -> None:
    """A merge patch of the Job, or of its status."""
    where = [f"--subresource={subresource}"] if subresource else []
    command = ("patch", "job", "run", "-n", namespace, "--type=merge", *where, "-p")
    kubectl.kubectl(*command, json.dumps(fields))


def selecting(nodes: dict[str, str | None]) -> dict[str, Any]:
    """Part of a Job's spec: the node labels of a flavour."""
    return {"template": {"spec": {"nodeSelector": nodes}}}


def admit(namespace: str) -> None:
    """Let the Job run on nodes of the flavour."""
    patch_job(namespace, spec={"suspend": False, **selecting(dict(FLAVOUR))})


def evict(namespace: str) -> None:
    """Suspend the Job; when its start is forgotten, take the flavour's labels off again."""
    patch_job(namespace, spec={"suspend": True})
    kubectl.wait_until(
        "the Job is suspended", lambda: kubectl.is_true(job(namespace), "Suspended"), seconds=30
    )
    patch_job(namespace, "status", status={"startTime": None})
    patch_job(namespace, spec=selecting(dict.fromkeys(FLAVOUR)))


def wait_for_phase(namespace: str, phase: str) -> dict[str, Any]:
    """Wait for status.phase; gives the resource."""

    def look() -> dict[str, Any] | None:
        found = kubectl.get("sid", "run", "-n", namespace)
        return found if found.get("status", {}).get("phase") == phase else None

    return kubectl.wait_until(f"phase {phase}", look, seconds=60)


def test_the_queue_admits_and_evicts_and_the_user_suspends_and_resumes(queued: str) -> None:
    waiting = wait_for_phase(queued, "Queued")
    ready = kubectl.condition(waiting, "PodsReady")
    assert ready is not None
    assert (ready["reason"], "team" in ready["message"]) == ("WaitingForQueue", True)
    first = job(queued)
    assert first["spec"]["suspend"] is True

    admit(queued)
    wait_for_phase(queued, "Pending")  # for a node, of which there are none
    # The operator changes the Job as well.
    life.change(queued, runPolicy={"backoffLimit": 7}, scheduling={"workloadPriorityClass": "high"})
    kubectl.wait_until("the limit", lambda: job(queued)["spec"]["backoffLimit"] == 7, seconds=30)
    admitted = job(queued)
    assert [one["metadata"]["labels"][CLASS_LABEL] for one in (first, admitted)] == ["low", "high"]
    assert admitted["metadata"]["uid"] == first["metadata"]["uid"]
    assert admitted["spec"]["suspend"] is False
    assert admitted["spec"]["template"]["spec"]["nodeSelector"] == FLAVOUR
    kubectl.wait_until("pods are there", lambda: len(pods(queued)) == 1, seconds=30)

    evict(queued)
    evicted = wait_for_phase(queued, "Queued")
    assert evicted["status"]["restarts"] == 0
    assert kubectl.condition(evicted, "Failed") is None
    kubectl.wait_until("the pods are gone", lambda: not pods(queued), seconds=60)

    life.change(queued, runPolicy={"suspend": True})
    wait_for_phase(queued, "Suspended")
    kubectl.wait_until("nothing waits in the queue", lambda: not jobs(queued), seconds=60)
    life.change(queued, runPolicy={"suspend": False})
    wait_for_phase(queued, "Queued")
    assert job(queued)["spec"]["suspend"] is True


def pods(namespace: str) -> list[Any]:
    found: list[Any] = kubectl.get("pods", "-n", namespace)["items"]
    return found


def jobs(namespace: str) -> list[Any]:
    found: list[Any] = kubectl.get("jobs", "-n", namespace)["items"]
    return found
