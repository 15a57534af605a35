"""Informers, queue and reconciler together, against a small API server over real HTTP."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from sid_operator.handlers import stopped
from sid_operator.metrics.work import WorkMetrics
from sid_operator.runtime import events, recorder
from sid_operator.runtime.controller import Controller
from sid_operator.runtime.queue import WorkQueue
from sid_operator.runtime.scraper import Scraper
from sid_operator.runtime.store import Key
from sid_operator.settings import Settings
from tests.unit.operator import world
from tests.unit.operator.fake_api import FakeApi, Fault, served

WRITES = ("PATCH", "POST", "PUT", "DELETE")


@dataclass
class Plant:
    """A controller beside its API server."""

    api: FakeApi
    start: Callable[..., Controller]
    stop: Callable[[], Any]

    def writes(self) -> int:
        """Requests that change something."""
        return sum(self.api.requests[key] for key in self.api.requests if key[0] in WRITES)


@pytest.fixture
async def plant() -> AsyncIterator[Plant]:
    settings = Settings(leader_election=False, watch_silence=30)
    async with served() as (api, client), aiohttp.ClientSession() as pods:
        tasks: list[asyncio.Task[None]] = []

        def start(workers: int = 4, metrics: WorkMetrics | None = None) -> Controller:
            queue: WorkQueue[Key] = WorkQueue()
            scraper = Scraper(pods, queue.add, interval=60, timeout=1)
            chosen = dataclasses.replace(settings, workers=workers)
            counted = metrics or WorkMetrics()
            controller = Controller(client, queue, scraper, None, chosen, metrics=counted)
            tasks.append(asyncio.create_task(controller.run()))
            return controller

        async def stop() -> None:
            while tasks:
                await stopped(tasks.pop())

        yield Plant(api, start, stop)
        await stop()


async def until(look: Callable[[], object], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not look():  # noqa: ASYNC110 - what is looked at is the state of a server
            await asyncio.sleep(0.01)


def phase(api: FakeApi) -> str:
    (resource,) = api.of("siddistillations")
    return str(resource["status"].get("phase", ""))


def waits_for(api: FakeApi, field: str = "reason") -> str:
    """What PodsReady of the resource says."""
    (resource,) = api.of("siddistillations")
    conditions = resource["status"].get("conditions", [])
    return next((str(c[field]) for c in conditions if c["type"] == "PodsReady"), "")


def reasons(api: FakeApi) -> list[str]:
    return [event["reason"] for event in api.of("events")]


def condition(api: FakeApi, kind: str) -> dict[str, Any] | None:
    """A condition of the resource."""
    (resource,) = api.of("siddistillations")
    found = resource["status"].get("conditions", [])
    return next((one for one in found if one["type"] == kind), None)


def edit(api: FakeApi, **sections: Any) -> None:
    """Somebody changes the spec of the resource."""
    (resource,) = api.of("siddistillations")
    generation = resource["metadata"]["generation"] + 1
    metadata = resource["metadata"] | {"generation": generation}
    spec = resource["spec"] | sections
    api.put("siddistillations", resource | {"metadata": metadata, "spec": spec})


def made_by(pod: dict[str, Any], job: dict[str, Any]) -> dict[str, Any]:
    """A pod of a Job."""
    pod["metadata"]["ownerReferences"][0]["uid"] = job["metadata"]["uid"]
    return pod


async def test_a_resource_gets_children_with_owner_references(plant: Plant) -> None:
    plant.start()
    plant.api.put("siddistillations", world.raw())
    await until(lambda: phase(plant.api) == "Pending" and plant.api.of("jobs"))
    for kind in ("configmaps", "services", "jobs"):
        (child,) = plant.api.of(kind)
        (owner,) = child["metadata"]["ownerReferences"]
        assert (owner["uid"], owner["controller"]) == (world.UID, True)
    assert reasons(plant.api) == ["Created"]


def named(name: str) -> dict[str, Any]:
    """A resource of another name."""
    other = world.raw()
    other["metadata"] |= {"name": name, "uid": f"uid-of-{name}"}
    return other


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


async def test_health_is_told(plant: Plant) -> None:
    controller = plant.start()
    assert "waiting" in controller.check()
    await until(lambda: controller.check() == "acting")
