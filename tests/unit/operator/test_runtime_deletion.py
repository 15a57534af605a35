"""Resources that are deleted, made again under their name, and what they leave."""

from __future__ import annotations

import pytest

from tests.unit.operator import world
from tests.unit.operator.fake_api import Fault
from tests.unit.operator.plant import Plant, made_by, named, phase, reasons, until, waits_for


async def test_a_deleted_resource_is_let_go(plant: Plant) -> None:
    plant.start()
    plant.api.put("siddistillations", world.raw())
    await until(lambda: plant.api.of("jobs"))
    plant.api.remove("siddistillations", world.NAMESPACE, world.NAME)
    for kind, name in (("jobs", world.NAME), ("configmaps", f"{world.NAME}-config")):
        plant.api.remove(kind, world.NAMESPACE, name)
    plant.api.put("siddistillations", named("other"))
    await until(lambda: plant.api.of("jobs"))
    assert [job["metadata"]["name"] for job in plant.api.of("jobs")] == ["other"]


async def test_a_resource_made_again_waits_for_what_the_earlier_one_left(plant: Plant) -> None:
    """Kubernetes collects the children of a deleted resource when it comes to it."""
    plant.start()
    plant.api.put("siddistillations", world.raw())
    await until(lambda: plant.api.of("jobs"))
    (left,) = plant.api.of("jobs")
    pod = made_by(world.raw_pod(0, phase="Running"), left)
    plant.api.put("pods", pod)
    plant.api.remove("siddistillations", world.NAMESPACE, world.NAME)
    again = world.raw()
    again["metadata"]["uid"] = "uid-of-the-second"
    plant.api.put("siddistillations", again)
    await until(lambda: waits_for(plant.api) == "Recreating")
    assert plant.api.of("jobs")[0]["metadata"]["uid"] == left["metadata"]["uid"]

    for kind, name in (
        ("jobs", world.NAME),
        ("services", world.NAME),
        ("configmaps", f"{world.NAME}-config"),
    ):
        plant.api.remove(kind, world.NAMESPACE, name)
    await until(lambda: plant.api.of("services") and plant.api.of("configmaps"))
    await until(lambda: "digits-0-a" in waits_for(plant.api, "message"))
    assert plant.api.of("jobs") == []

    plant.api.remove("pods", world.NAMESPACE, pod["metadata"]["name"])
    await until(lambda: plant.api.of("jobs"))
    (job,) = plant.api.of("jobs")
    assert job["metadata"]["ownerReferences"][0]["uid"] == "uid-of-the-second"
    assert "NameConflict" not in reasons(plant.api)
    assert phase(plant.api) == "Pending"


@pytest.mark.parametrize("end", ["gone", "Succeeded", "Failed"])
async def test_pods_left_without_their_job_are_waited_for_until_they_end(
    plant: Plant, end: str
) -> None:
    """``kubectl delete job digits --cascade=orphan``."""
    plant.start()
    plant.api.put("siddistillations", world.raw())
    await until(lambda: plant.api.of("jobs"))
    (job,) = plant.api.of("jobs")
    pod = plant.api.put("pods", made_by(world.raw_pod(0, phase="Running"), job))
    # Pods and Jobs are watched apart: else the Job may be seen to go before the pod is seen.
    await until(lambda: waits_for(plant.api) == "PodsStarting")
    del pod["metadata"]["ownerReferences"]
    plant.api.put("pods", pod)
    plant.api.remove("jobs", world.NAMESPACE, world.NAME)
    await until(lambda: "digits-0-a" in waits_for(plant.api, "message"))
    assert plant.api.of("jobs") == []
    if end == "gone":
        plant.api.remove("pods", world.NAMESPACE, pod["metadata"]["name"])
    else:
        plant.api.put("pods", pod | {"status": pod["status"] | {"phase": end}})
    await until(lambda: plant.api.of("jobs"))


async def test_a_resource_whose_status_is_not_found_is_let_go(plant: Plant) -> None:
    """However it came to be that the cache holds it."""
    plant.start()
    plant.api.put("siddistillations", world.raw())
    await until(lambda: plant.api.of("jobs") and phase(plant.api) == "Pending")
    (job,) = plant.api.of("jobs")
    plant.api.remove("siddistillations", world.NAMESPACE, world.NAME, silently=True)
    plant.api.put("pods", made_by(world.raw_pod(0, phase="Running"), job))
    listed = ("GET", "siddistillations")
    before = plant.api.requests[listed]
    await until(lambda: plant.api.requests[listed] > before)
    plant.api.remove("jobs", world.NAMESPACE, world.NAME)
    plant.api.put("siddistillations", named("other"))
    await until(lambda: plant.api.of("jobs"))
    assert [job["metadata"]["name"] for job in plant.api.of("jobs")] == ["other"]


async def test_a_status_that_is_not_found_of_a_resource_that_lives_is_written_later(
    plant: Plant,
) -> None:
    plant.api.faults = [Fault(404, plural="siddistillations", method="PATCH")]
    plant.start()
    plant.api.put("siddistillations", world.raw())
    await until(lambda: phase(plant.api) == "Pending")


async def test_the_bucket_is_emptied_when_the_resource_is_gone(plant: Plant) -> None:
    plant.start()
    plant.api.put("siddistillations", world.raw(deletionPolicy="Delete"))
    await until(lambda: len(plant.api.of("jobs")) == 2)
    (cleanup,) = [job for job in plant.api.of("jobs") if "cleanup" in job["metadata"]["name"]]
    assert (cleanup["spec"]["suspend"], cleanup["spec"]["parallelism"]) == (True, 0)
    cleanup["spec"]["suspend"] = False  # by a queue of the namespace
    plant.api.put("jobs", cleanup)
    pod = plant.api.put("pods", world.raw_pod(0, phase="Running"))

    plant.api.remove("siddistillations", world.NAMESPACE, world.NAME)
    plant.api.remove("jobs", world.NAMESPACE, world.NAME)
    await plant.stop()
    plant.start()  # what happened while the operator was away is caught up with
    plant.api.remove("pods", world.NAMESPACE, pod["metadata"]["name"])
    await until(lambda: plant.api.of("jobs")[0]["spec"]["parallelism"] == 1)
    await until(lambda: "CleaningUp" in reasons(plant.api))

    (cleanup,) = plant.api.of("jobs")
    late = world.condition("Failed", "DeadlineExceeded", "Job was active longer than its deadline")
    cleanup["status"] = {"conditions": [late]}
    plant.api.put("jobs", cleanup)
    await until(lambda: "CleanUpFailed" in reasons(plant.api))
    plant.api.put("jobs", cleanup)
    plant.api.put("siddistillations", world.raw())
    await until(lambda: phase(plant.api) == "Pending")
    (failed,) = [event for event in plant.api.of("events") if event["reason"] == "CleanUpFailed"]
    assert failed["type"] == "Warning"
    assert (
        f"longer than its deadline. See the log of Job {cleanup['metadata']['name']}"
        in (failed["message"])
    )


async def test_an_expired_resource_is_deleted(plant: Plant) -> None:
    plant.start()
    plant.api.put("siddistillations", world.raw(runPolicy={"ttlSecondsAfterFinished": 0}))
    await until(lambda: plant.api.of("jobs"))
    (job,) = plant.api.of("jobs")
    job["status"] = {"conditions": [world.condition("Complete")]}
    plant.api.put("jobs", job)
    await until(lambda: not plant.api.of("siddistillations"))
    await until(lambda: "Expired" in reasons(plant.api))
