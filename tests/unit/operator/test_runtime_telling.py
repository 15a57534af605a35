"""The controller tells what it did, and what was refused: in Events, status and metrics."""

from __future__ import annotations

import dataclasses
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest

from sid_operator.metrics.work import WorkMetrics
from sid_operator.runtime import events, recorder
from tests.unit.operator import world
from tests.unit.operator.fake_api import Fault
from tests.unit.operator.plant import (
    Plant,
    condition,
    edit,
    made_by,
    named,
    phase,
    reasons,
    until,
    waits_for,
)


@pytest.mark.parametrize(
    "fault", [Fault(403, lasting=True), Fault(0, silent=True, lasting=True)], ids=["403", "silent"]
)
async def test_without_events_runs_without_pods_are_still_served(
    plant: Plant, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More of them than there are workers."""
    monkeypatch.setattr(events, "READ_SECONDS", 0.05)
    monkeypatch.setattr(recorder, "POST_SECONDS", 0.05)
    plant.api.faults = [dataclasses.replace(fault, plural="events")]
    plant.start(workers=2)
    runs = [plant.api.put("siddistillations", named(f"run-{number}")) for number in range(4)]
    await until(lambda: all("startTime" in o["status"] for o in plant.api.of("siddistillations")))
    for run in runs:
        held = plant.api.objects["siddistillations", world.NAMESPACE, run["metadata"]["name"]]
        suspended = held["spec"] | {"runPolicy": {"suspend": True}}
        plant.api.put("siddistillations", held | {"spec": suspended})
    await until(lambda: all(job["spec"]["suspend"] for job in plant.api.of("jobs")))
    await until(
        lambda: all(
            one["status"]["phase"] == "Suspended" for one in plant.api.of("siddistillations")
        )
    )


async def test_a_refused_child_is_told_to_the_user(plant: Plant) -> None:
    plant.api.faults = [Fault(403, plural="jobs", method="PATCH")]
    plant.start()
    plant.api.put("siddistillations", world.raw())
    await until(lambda: "failure" in plant.api.of("siddistillations")[0]["status"])
    assert "RefusedByApiServer" in reasons(plant.api)
    (resource,) = plant.api.of("siddistillations")
    told = resource["status"]["failure"]["message"]
    assert told.startswith("The API server refused Job digits: fault. Change the resource")


async def test_a_suspension_that_is_refused_is_not_told_as_done(plant: Plant) -> None:
    plant.start()
    plant.api.put("siddistillations", world.raw())
    await until(lambda: phase(plant.api) == "Pending")
    plant.api.faults = [Fault(403, plural="jobs", method="PATCH", lasting=True)]
    edit(plant.api, runPolicy={"suspend": True})
    await until(lambda: condition(plant.api, "Suspended") is not None)
    suspended = condition(plant.api, "Suspended")
    assert suspended is not None
    assert (suspended["status"], suspended["reason"]) == ("False", "Suspending")
    accepted = condition(plant.api, "Accepted")
    assert accepted is not None
    assert accepted["reason"] == "RefusedByApiServer"
    assert phase(plant.api) == "Pending"


async def test_a_clean_up_that_is_refused_is_told_and_tried_again(plant: Plant) -> None:
    plant.start()
    plant.api.put("siddistillations", world.raw(deletionPolicy="Delete"))
    await until(lambda: len(plant.api.of("jobs")) == 2)
    plant.api.faults = [Fault(403, plural="jobs", method="PATCH")]
    plant.api.remove("siddistillations", world.NAMESPACE, world.NAME)
    plant.api.remove("jobs", world.NAMESPACE, world.NAME)
    await until(lambda: "RefusedByApiServer" in reasons(plant.api))


async def test_an_event_is_not_repeated_while_the_status_cannot_be_written(plant: Plant) -> None:
    refusals = [Fault(422, plural="siddistillations", method="PATCH") for _ in range(3)]
    plant.api.faults = list(refusals)
    plant.start()
    resource = plant.api.put("siddistillations", world.raw(runPolicy={"suspend": True}))
    for left in (2, 1, 0):
        await until(lambda left=left: len(plant.api.faults) == left)
        resource["metadata"]["labels"] = {"by-somebody": str(left)}  # hence a new version
        plant.api.put("siddistillations", resource)
    await until(lambda: phase(plant.api) == "Suspended")
    assert sorted(reasons(plant.api)) == ["StatusRefused", "Suspended"]
    assert plant.api.of("jobs") == []


async def test_a_refused_status_is_told_by_an_event_and_counted(plant: Plant) -> None:
    for number in (1, 2):
        refusal = f'admission webhook "w" denied the request: not today ({number})'
        plant.api.faults.append(
            Fault(403, plural="siddistillations", method="PATCH", message=refusal)
        )
    metrics = WorkMetrics()
    plant.start(metrics=metrics)
    plant.api.put("siddistillations", world.raw())
    await until(lambda: phase(plant.api) == "Pending")
    (told,) = [event for event in plant.api.of("events") if event["reason"] == "StatusRefused"]
    assert told["type"] == "Warning"
    assert "not today (1)" in told["message"]
    name = "sid_operator_reconcile_seconds_count"
    assert metrics.registry.get_sample_value(name, {"result": "refused"}) == 2


async def test_the_words_of_a_deleted_pod_are_kept(plant: Plant) -> None:
    plant.start()
    plant.api.put("siddistillations", world.raw())
    await until(lambda: plant.api.of("jobs"))
    (job,) = plant.api.of("jobs")
    plant.api.put("jobs", job | {"status": {"startTime": world.at(60)}})  # the Job controller's
    words = '{"state": "failed", "failure": {"reason": "OutOfMemory", "message": "GPU 0 is full"}}'
    state = {"exitCode": 1, "reason": "Error", "message": words, "finishedAt": world.at(0)}
    container = {"name": "trainer", "state": {"terminated": state}}
    pod = world.raw_pod(0, phase="Failed", containerStatuses=[container])
    plant.api.put("pods", made_by(pod, job))
    plant.api.remove("pods", world.NAMESPACE, f"{world.NAME}-0-a")
    await until(lambda: phase(plant.api) == "Restarting")
    (resource,) = plant.api.of("siddistillations")
    assert resource["status"]["failure"]["message"] == "GPU 0 is full"
    assert sorted(reasons(plant.api)) == ["Created", "Restarting"]


async def test_other_words_of_the_scheduler_are_told_to_nobody(plant: Plant) -> None:
    metrics = WorkMetrics()
    plant.start(metrics=metrics)
    plant.api.put("siddistillations", world.raw())
    await until(lambda: "startTime" in plant.api.of("siddistillations")[0]["status"])
    pod = made_by(world.raw_pod(0), plant.api.of("jobs")[0])
    pod["spec"] = {}

    def passes() -> float:
        name = "sid_operator_reconcile_seconds_count"
        return metrics.registry.get_sample_value(name, {"result": "done"}) or 0

    def says(nodes: int) -> dict[str, Any]:
        words = f"0/{nodes} nodes are available: {nodes % 7} Insufficient nvidia.com/gpu."
        unschedulable = world.condition("PodScheduled", "Unschedulable", words, status="False")
        return pod | {"status": {"phase": "Pending", "conditions": [unschedulable]}}

    plant.api.put("pods", says(90))
    await until(lambda: waits_for(plant.api) == "Unschedulable")
    told = plant.api.requests[("PATCH", "siddistillations")]
    for nodes in range(91, 96):
        before = passes()
        plant.api.put("pods", says(nodes))
        await until(lambda before=before: passes() > before)
    assert plant.api.requests[("PATCH", "siddistillations")] == told
    assert Counter(reasons(plant.api))["Unschedulable"] == 1


async def test_what_the_kubelet_tells_of_a_pod_is_told(plant: Plant) -> None:
    plant.start()
    plant.api.put("siddistillations", world.raw())
    await until(lambda: plant.api.of("jobs"))
    told = datetime.now(UTC).isoformat(timespec="seconds")
    plant.api.put(
        "events",
        {
            "metadata": {"namespace": world.NAMESPACE, "name": "digits-1-a.1"},
            "involvedObject": {"uid": "uid-1-a"},
            "reason": "FailedCreatePodSandBox",
            "message": "Failed to create pod sandbox: rpc error: desc = no addresses left",
            "lastTimestamp": told,
        },
    )
    for index in range(2):
        creating = {"name": "trainer", "state": {"waiting": {"reason": "ContainerCreating"}}}
        pod = world.raw_pod(index, age=9000, containerStatuses=[creating])
        plant.api.put("pods", made_by(pod, plant.api.of("jobs")[0]))
    await until(lambda: waits_for(plant.api) == "SandboxNotCreated")
    assert "pod digits-1-a: no addresses left." in waits_for(plant.api, "message")


async def test_health_is_told(plant: Plant) -> None:
    controller = plant.start()
    assert "waiting" in controller.check()
    await until(lambda: controller.check() == "acting")
