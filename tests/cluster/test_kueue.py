"""Kueue itself: a run waits, is admitted, preempted, and goes on from what it had stored.

Building Kueue takes minutes, so this is a campaign (``make test-campaigns``); what it does to a Job
is done by a stand-in in :mod:`tests.cluster.test_queue` each time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster import install, kubectl, kueue, objects, runs

pytestmark = [pytest.mark.cluster, pytest.mark.campaign]

EVALUATION = {"everyIterations": 60}
CPU = "600m"
"""Of the queue: enough for the run's two pods, or for the important Job, not for both."""


@pytest.fixture
def team(space: str) -> Iterator[str]:
    """A namespace with credentials, a teacher in MinIO, and a queue of Kueue's."""
    with kueue.installed(space), kueue.queued(space, CPU):
        yield space


@pytest.fixture
def default_queue(space: str) -> Iterator[str]:
    """A namespace whose queue takes Jobs that name none."""
    with kueue.installed(space), kueue.queued(space, "2", "default"):
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
    kubectl.wait_until("its pods are gone", lambda: not runs.pods(team, "queued"), seconds=120)
    stored = runs.read(team, "queued")["status"]["checkpoint"]["iteration"]
    assert stored >= 25  # what it was at when it was told to end

    kubectl.kubectl("delete", "job", "important", "-n", team)
    status = runs.wait_for(team, "queued", "Complete", seconds=600)["status"]
    assert status["progress"]["iteration"] == 120
    begun = runs.first_iterations(team, "queued")
    assert len(begun) == 2
    assert begun[1] > stored
    print(f"preempted at {stored}, went on from {begun[1]}, restarts {status['restarts']}")


def test_a_run_of_another_class_takes_its_turn_at_once(team: str) -> None:
    def job(name: str) -> dict[str, Any]:
        found: dict[str, Any] = kubectl.get("job", name, "-n", team)
        return found

    kubectl.apply(important(team))
    kubectl.wait_until("the important Job runs", lambda: is_running(team), seconds=90)
    scheduling = {"queueName": "team", "workloadPriorityClass": f"of-{team}"}
    kubectl.apply(runs.digits(team, "queued", scheduling=scheduling, evaluation=EVALUATION))
    wait_for_phase(team, "Queued")
    first = job("queued")

    patch = {"spec": {"scheduling": {"workloadPriorityClass": f"of-{team}-urgent"}}}
    command = ("patch", "sid", "queued", "-n", team, "--type=merge", "-p", json.dumps(patch))
    kubectl.kubectl(*command)
    kubectl.wait_until("it is admitted", lambda: not job("queued")["spec"]["suspend"], seconds=120)
    assert job("queued")["metadata"]["uid"] == first["metadata"]["uid"]
    assert job("important")["spec"]["suspend"] is True


def test_a_default_queue_takes_a_run_that_names_none_and_does_not_empty_its_folder(
    default_queue: str,
) -> None:
    space, folder = default_queue, f"distillations/{default_queue}/run"

    def jobs(component: str) -> list[dict[str, Any]]:
        selector = f"sid-dit.dev/distillation=run,app.kubernetes.io/component={component}"
        found: list[dict[str, Any]] = kubectl.get("jobs", "-n", space, "-l", selector)["items"]
        return found

    def suspend(value: bool) -> None:
        patch = json.dumps({"spec": {"runPolicy": {"suspend": value}}})
        kubectl.kubectl("patch", "sid", "run", "-n", space, "--type=merge", "-p", patch)

    shorter = {"training": {"iterations": 60}, "checkpoint": {"everyIterations": 10}}
    kubectl.apply(
        runs.digits(space, "run", deletionPolicy="Delete", evaluation=EVALUATION, **shorter)
    )
    runs.wait_for_iteration(space, "run", 12, seconds=300)
    (job,) = jobs("worker")
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "default"
    kubectl.wait_until(
        "the queue lets the clean-up Job start",
        lambda: not jobs("cleanup")[0]["spec"]["suspend"],
        seconds=120,
    )
    suspend(True)
    kubectl.wait_until("its pods are gone", lambda: not runs.pods(space, "run"), seconds=120)
    assert not jobs("worker")
    assert runs.read(space, "run")["status"]["phase"] == "Suspended"
    suspend(False)
    status = runs.wait_for(space, "run", "Complete", seconds=600)["status"]
    assert runs.first_iterations(space, "run")[1] > 12, "its checkpoints were kept"
    assert status["progress"]["iteration"] == 60
    with objects.connect() as store:
        assert store.names(f"{folder}/student")
        kubectl.kubectl("delete", "sid", "run", "-n", space, "--wait", "--timeout=30s")
        kubectl.wait_until(f"{folder} is empty", lambda: not store.names(folder), seconds=180)
