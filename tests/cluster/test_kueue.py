"""Kueue itself: a run waits, is admitted, preempted, and goes on from what it had stored.

Building Kueue takes minutes, so this is a campaign (``make test-campaigns``); what it does to a Job
is done by a stand-in in :mod:`tests.cluster.test_queue` each time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster import install, kubectl, kueue, runs

pytestmark = [pytest.mark.cluster, pytest.mark.campaign]

CPU = "600m"
"""Of the queue: enough for the run's two pods, or for the important Job, not for both."""


@pytest.fixture
def team(space: str) -> Iterator[str]:
    """A namespace with credentials, a teacher in MinIO, and a queue of Kueue's."""
    with kueue.installed(space), kueue.queued(space, CPU):
        yield space


def important(namespace: str) -> dict[str, Any]:
    """A Job that goes first, and does nothing for as long as it is there."""
    container = {
        "name": "wait",
        "image": install.local_images()["operator"],
        "imagePullPolicy": "IfNotPresent",
        "command": ["sleep", "3600"],
        "resources": {"requests": {"cpu": "500m", "memory": "16Mi"}},
    }
    pod = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
    }
    labels = {
        "kueue.x-k8s.io/queue-name": "team",
        "kueue.x-k8s.io/priority-class": f"of-{namespace}",
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "important", "namespace": namespace, "labels": labels},
        "spec": {"template": {"spec": pod}},
    }


def is_running(namespace: str) -> bool:
    """Whether the important Job was admitted, and its pod runs."""
    job = kubectl.get("job", "important", "-n", namespace)
    return bool(job["status"].get("ready"))


def wait_for_phase(namespace: str, phase: str, seconds: float = 120) -> dict[str, Any]:
    """Wait for the run's phase; gives the resource."""

    def look() -> dict[str, Any] | None:
        found = runs.read(namespace, "queued")
        return found if found.get("status", {}).get("phase") == phase else None

    return kubectl.wait_until(f"phase {phase}", look, seconds=seconds)


def test_a_run_waits_is_preempted_and_goes_on_from_its_checkpoint(team: str) -> None:
    kubectl.apply(important(team))
    kubectl.wait_until("the important Job runs", lambda: is_running(team), seconds=90)
    kubectl.apply(
        runs.digits(
            team,
            "queued",
            scheduling={"queueName": "team"},
            training={"iterations": 120},
            checkpoint={"everyIterations": 20},
            evaluation={"everyIterations": 120},
        )
    )
    waiting = wait_for_phase(team, "Queued")
    condition = kubectl.condition(waiting, "PodsReady")
    assert condition is not None
    assert condition["reason"] == "WaitingForQueue"
    assert not runs.pods(team, "queued")

    kubectl.kubectl("delete", "job", "important", "-n", team)
    runs.wait_for_iteration(team, "queued", 25, seconds=300)

    kubectl.apply(important(team))
    preempted = wait_for_phase(team, "Queued")
    assert kubectl.condition(preempted, "Failed") is None
    kubectl.wait_until("it runs in the run's place", lambda: is_running(team), seconds=180)
    assert not runs.pods(team, "queued")
    stored = runs.read(team, "queued")["status"]["checkpoint"]["iteration"]
    assert stored >= 25  # what it was at when it was told to end

    kubectl.kubectl("delete", "job", "important", "-n", team)
    status = runs.wait_for(team, "queued", "Complete", seconds=600)["status"]
    assert status["progress"]["iteration"] == 120
    begun = runs.first_iterations(team, "queued")
    assert len(begun) == 2
    assert begun[1] > stored
    print(f"preempted at {stored}, went on from {begun[1]}, restarts {status['restarts']}")
