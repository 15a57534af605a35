"""The controller makes children, and makes them anew; a change of the spec reaches them."""

from __future__ import annotations

from collections import Counter
from typing import Any

from sid_operator.metrics.work import WorkMetrics
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


async def test_a_resource_gets_children_with_owner_references(plant: Plant) -> None:
    plant.start()
    plant.api.put("siddistillations", world.raw())
    await until(lambda: phase(plant.api) == "Pending" and plant.api.of("jobs"))
    for kind in ("configmaps", "services", "jobs"):
        (child,) = plant.api.of(kind)
        (owner,) = child["metadata"]["ownerReferences"]
        assert (owner["uid"], owner["controller"]) == (world.UID, True)
    assert reasons(plant.api) == ["Created"]


async def test_all_that_wait_get_their_jobs_before_anything_is_told(plant: Plant) -> None:
    for number in range(5):
        plant.api.put("siddistillations", named(f"run-{number}"))
    plant.start(workers=1)
    await until(lambda: all("phase" in one["status"] for one in plant.api.of("siddistillations")))
    kinds = [path.partition("/")[0] for _, path, _ in plant.api.writes]
    children, told = kinds[:15], kinds[15:]
    assert Counter(children) == dict.fromkeys(("configmaps", "services", "jobs"), 5)
    assert Counter(told) == dict.fromkeys(("events", "siddistillations"), 5)


async def test_a_child_that_never_gets_right_is_not_applied_without_end(plant: Plant) -> None:
    """Something in the cluster takes our annotations off."""
    put = plant.api.put

    def stripped(plural: str, obj: dict[str, Any]) -> dict[str, Any]:
        if plural == "configmaps":
            obj["metadata"].pop("annotations", None)
        return put(plural, obj)

    plant.api.put = stripped  # type: ignore[method-assign]
    plant.start(workers=1)
    for name in ("first", "second", "third"):
        plant.api.put("siddistillations", named(name))
        await until(lambda: all("phase" in o["status"] for o in plant.api.of("siddistillations")))
    assert plant.api.requests[("PATCH", "configmaps")] <= 3 * 4


async def test_a_restart_writes_nothing(plant: Plant) -> None:
    plant.start()
    plant.api.put("siddistillations", world.raw())
    await until(lambda: "startTime" in plant.api.of("siddistillations")[0]["status"])
    await plant.stop()
    before, listed = plant.writes(), plant.api.requests[("GET", "events")]
    plant.start()
    # A minute-old Job without pods: its events are asked for at the end of a pass.
    await until(lambda: plant.api.requests[("GET", "events")] > listed)
    await plant.stop()
    assert plant.writes() == before


async def test_a_child_whose_creation_was_not_answered_is_known_again(plant: Plant) -> None:
    plant.api.faults = [Fault(0, plural="jobs", method="PATCH", after=True)]
    plant.start()
    plant.api.put("siddistillations", world.raw())
    await until(lambda: "startTime" in plant.api.of("siddistillations")[0]["status"])
    assert reasons(plant.api) == ["Created"]


async def test_a_changed_spec_gets_a_new_job_and_tells_of_no_failure(plant: Plant) -> None:
    plant.start()
    plant.api.put("siddistillations", world.raw())
    await until(lambda: "startTime" in plant.api.of("siddistillations")[0]["status"])
    (job,), (resource,) = plant.api.of("jobs"), plant.api.of("siddistillations")
    plant.api.put("pods", made_by(world.raw_pod(0, phase="Running"), job))
    resource["spec"]["training"]["iterations"] = 300
    resource["metadata"]["generation"] = 2
    plant.api.put("siddistillations", resource)
    await until(
        lambda: not plant.api.of("jobs") and "digits-0-a" in waits_for(plant.api, "message")
    )
    plant.api.remove("pods", world.NAMESPACE, "digits-0-a")
    await until(lambda: plant.api.of("jobs"))
    assert plant.api.of("jobs")[0]["metadata"]["uid"] != job["metadata"]["uid"]
    await until(lambda: waits_for(plant.api) == "PodsPending")
    assert reasons(plant.api) == ["Created", "Recreating"]


async def test_deleted_children_are_restored(plant: Plant) -> None:
    plant.start()
    plant.api.put("siddistillations", world.raw())
    await until(lambda: "startTime" in plant.api.of("siddistillations")[0]["status"])
    plant.api.remove("configmaps", world.NAMESPACE, f"{world.NAME}-config")
    plant.api.remove("jobs", world.NAMESPACE, world.NAME)
    await until(lambda: plant.api.of("jobs") and plant.api.of("configmaps"))


async def test_what_vanished_unseen_is_noticed_by_a_new_listing(plant: Plant) -> None:
    plant.start()
    plant.api.put("siddistillations", world.raw())
    await until(lambda: "startTime" in plant.api.of("siddistillations")[0]["status"])
    await plant.stop()
    plant.api.remove("services", world.NAMESPACE, world.NAME, silently=True)
    plant.api.compact()
    plant.start()
    await until(lambda: plant.api.of("services"))


async def test_faults_delay_but_do_not_change_the_end(plant: Plant) -> None:
    plant.api.faults = [
        Fault(503, plural="jobs", method="PATCH"),
        Fault(0, plural="configmaps", method="PATCH", after=True),
        Fault(429, {"Retry-After": "1"}, plural="services"),
        Fault(409, plural="siddistillations", method="PATCH"),
        Fault(500, plural="events"),
    ]
    plant.start()
    plant.api.put("siddistillations", world.raw())
    await until(lambda: "startTime" in plant.api.of("siddistillations")[0]["status"])
    assert len(plant.api.of("jobs")) == 1


async def test_a_foreign_object_is_left_alone_and_told(plant: Plant) -> None:
    foreign = {"metadata": {"namespace": world.NAMESPACE, "name": world.NAME}, "spec": {"a": 1}}
    plant.api.put("services", foreign)
    plant.start()
    plant.api.put("siddistillations", world.raw())
    await until(lambda: "NameConflict" in reasons(plant.api))
    (service,) = plant.api.of("services")
    assert service["spec"] == {"a": 1}
    assert plant.api.of("jobs") == []


async def test_a_refused_child_does_not_keep_a_run_from_being_suspended(plant: Plant) -> None:
    plant.start()
    plant.api.put("siddistillations", world.raw())
    await until(lambda: phase(plant.api) == "Pending")
    quota = Fault(403, plural="jobs", name="cleanup", message="exceeded quota", lasting=True)
    plant.api.faults = [quota]
    edit(plant.api, deletionPolicy="Delete", runPolicy={"suspend": True})
    await until(lambda: phase(plant.api) == "Suspended")
    (job,) = plant.api.of("jobs")
    assert job["spec"]["suspend"] is True
    accepted = condition(plant.api, "Accepted")
    assert accepted is not None
    assert "cleanup" in accepted["message"]


async def test_an_edit_that_the_cluster_does_not_take_leaves_the_run_alone(plant: Plant) -> None:
    metrics = WorkMetrics()
    plant.start(metrics=metrics)
    plant.api.put("siddistillations", world.raw())
    await until(lambda: phase(plant.api) == "Pending")
    jobs, maps = plant.api.of("jobs"), plant.api.of("configmaps")
    denial = Fault(422, plural="jobs", method="POST", message="no huge pages", lasting=True)
    plant.api.faults = [denial]
    edit(plant.api, training={"iterations": 300, "batchSize": 64})
    await until(lambda: "failure" in plant.api.of("siddistillations")[0]["status"])
    told = plant.api.of("siddistillations")[0]["status"]["failure"]["message"]
    assert told.startswith("The API server refused Job digits: no huge pages.")

    def passes() -> float:
        name = "sid_operator_reconcile_seconds_count"
        return metrics.registry.get_sample_value(name, {"result": "done"}) or 0

    before = passes()
    pod = made_by(world.raw_pod(0, phase="Running"), jobs[0])
    for second in range(3):
        plant.api.put("pods", pod | {"status": {"phase": "Running", "podIP": f"10.0.0.{second}"}})
        await until(lambda before=before, second=second: passes() > before + second)
    assert plant.api.requests["POST", "jobs"] == 1
    assert (plant.api.of("jobs"), plant.api.of("configmaps")) == (jobs, maps)

    plant.api.faults.clear()
    edit(plant.api, training={"iterations": 400, "batchSize": 64})
    await until(lambda: plant.api.of("jobs") != jobs and plant.api.of("configmaps") != maps)
    await until(lambda: "Recreating" in reasons(plant.api))
    assert plant.api.requests["POST", "jobs"] > 1
