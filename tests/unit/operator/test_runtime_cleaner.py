"""Which clean-up Jobs are let go, and which are not: pass by pass, over real HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from sid_operator.api.names import ANNOTATION_SELF, LABEL_QUEUE
from sid_operator.kube import errors
from sid_operator.kube.client import KubeClient
from sid_operator.resources.cleanup import cleanup_job
from sid_operator.resources.run import Installed
from sid_operator.runtime.caches import Caches
from sid_operator.runtime.reconciler import Reconciler
from sid_operator.runtime.recorder import Recorder
from sid_operator.runtime.scraper import Scraper
from sid_operator.runtime.store import Key
from tests.unit.operator import world
from tests.unit.operator.fake_api import FakeApi, Fault, served

KEY = Key(world.NAMESPACE, world.NAME)
NEXT = "uid of the next resource of the name"


@dataclass
class Operator:
    """A reconciler whose passes the test calls, after a look at everything."""

    api: FakeApi
    client: KubeClient
    pods: aiohttp.ClientSession
    caches: Caches = field(default_factory=Caches)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """A new process knows nothing."""
        self.caches = Caches()
        self.reconciler = Reconciler(
            self.client,
            self.caches,
            Scraper(self.pods, lambda _: None, interval=60, timeout=1),
            Recorder(self.client, "test"),
            default=Installed(),
        )

    async def passes(self, number: int = 1, *, unseen: str = "") -> None:
        """Look at everything, but for one kind, then do a pass, so many times."""
        for _ in range(number):
            for kind, store in self.caches.by_kind().items():
                there = [] if kind.plural == unseen else self.api.of(kind.plural)
                store.replace(there, version=self.api.version)
            await self.reconciler.reconcile(KEY)

    def cleanups(self) -> list[dict[str, Any]]:
        """The clean-up Jobs that there are."""
        return [job for job in self.api.of("jobs") if "cleanup" in job["metadata"]["name"]]

    def released(self) -> bool:
        """Whether the only clean-up Job was let go."""
        (job,) = self.cleanups()
        return bool(job["spec"]["parallelism"] == 1)

    def told(self) -> list[tuple[str, str, str]]:
        """Reason and message of all Events, and the uid of the resource that they are about."""
        return [
            (event["reason"], event["message"], event["involvedObject"]["uid"])
            for event in self.api.of("events")
        ]

    def reasons(self) -> list[str]:
        return [reason for reason, _, _ in self.told()]

    def delete(self, *, job: bool = True) -> None:
        """Delete the resource, and what Kubernetes deletes with it."""
        self.api.remove("siddistillations", *KEY)
        self.api.remove("services", *KEY)
        self.api.remove("configmaps", KEY.namespace, f"{KEY.name}-config")
        if job:
            self.api.remove("jobs", *KEY)


@pytest.fixture
async def operator() -> AsyncIterator[Operator]:
    async with served() as (api, client), aiohttp.ClientSession() as pods:
        api.put("siddistillations", world.raw(deletionPolicy="Delete"))
        yield Operator(api, client, pods)


def restored() -> dict[str, Any]:
    """The resource as a backup brings it back."""
    again = world.raw(deletionPolicy="Delete")
    again["metadata"]["uid"] = NEXT
    return again


async def test_the_job_bears_its_own_uid_before_the_run_begins(operator: Operator) -> None:
    await operator.passes(4)
    (made,) = operator.cleanups()
    uid = made["metadata"]["uid"]
    assert made["metadata"]["annotations"][ANNOTATION_SELF] == uid
    paths = [path for _, path, _ in operator.api.writes]
    name = f"jobs/{made['metadata']['name']}"
    assert paths[:2] == [name, name]
    assert paths.index(f"jobs/{world.NAME}") > 1
    writes = len(paths)
    await operator.passes(2)
    assert len(operator.api.writes) == writes, "at rest"


async def test_a_copy_does_not_empty_the_folder_of_the_run_that_came_with_it(
    operator: Operator,
) -> None:
    """A backup of resource and Job is brought back where the resource is not, or not any more."""
    await operator.passes(4)
    (copy,) = operator.cleanups()
    operator.delete()
    operator.api.remove("jobs", KEY.namespace, copy["metadata"]["name"])
    operator.start()

    del copy["metadata"]["uid"]
    operator.api.put("jobs", copy)  # Jobs come back before resources of other groups
    await operator.passes()
    assert operator.cleanups() == []
    operator.api.put("jobs", copy | {"metadata": copy["metadata"] | {"uid": "another"}})
    operator.api.put("siddistillations", restored())
    await operator.passes(5)
    (own,) = operator.cleanups()
    assert own["metadata"]["annotations"]["sid-dit.dev/uid"] == NEXT
    assert ("jobs", *KEY) in operator.api.objects, "the run goes on"
    bodies = [body for _, path, body in operator.api.writes if "cleanup" in path]
    assert all(body.get("spec", {}).get("parallelism", 0) == 0 for body in bodies)
    assert "CleaningUp" not in operator.reasons()
    dropped = [told for told in operator.told() if told[0] == "CleanUpDropped"]
    assert [uid for _, _, uid in dropped] == [world.UID, NEXT]
    assert "is a copy" in dropped[0][1]


async def test_a_copy_of_a_job_that_never_got_its_mark_is_not_let_go_either(
    operator: Operator,
) -> None:
    unmarked = cleanup_job(world.run(deletionPolicy="Delete"))
    operator.api.remove("siddistillations", *KEY)
    operator.api.put("jobs", unmarked)
    operator.api.put("siddistillations", restored())
    await operator.passes(4)
    (told,) = [message for reason, message, _ in operator.told() if reason == "CleanUpDropped"]
    assert "the run's folder stays in the bucket" in told
    assert [job["metadata"]["uid"] for job in operator.cleanups()] != [unmarked["metadata"]["uid"]]
    assert ("jobs", *KEY) in operator.api.objects


async def test_a_job_without_its_mark_gets_it_while_its_resource_is_there(
    operator: Operator,
) -> None:
    """Its making was interrupted, or an earlier version made it."""
    unmarked = operator.api.put("jobs", cleanup_job(world.run(deletionPolicy="Delete")))
    await operator.passes(3)
    operator.start()
    operator.delete()
    await operator.passes()
    assert operator.released()
    assert operator.cleanups()[0]["metadata"]["uid"] == unmarked["metadata"]["uid"]


async def test_a_resource_that_is_deleted_before_the_mark_is_written_is_cleaned_up_too(
    operator: Operator,
) -> None:
    operator.api.faults = [Fault(503, plural="jobs", method="PATCH", spares=1, lasting=True)]
    with pytest.raises(errors.BusyError):
        await operator.passes()
    assert ANNOTATION_SELF not in operator.cleanups()[0]["metadata"]["annotations"]
    operator.api.faults = []
    operator.api.remove("siddistillations", *KEY)
    await operator.passes()
    assert operator.released()
    assert "CleanUpDropped" not in operator.reasons()


async def test_a_resource_that_is_only_not_seen_yet_loses_nothing(operator: Operator) -> None:
    """The caches are filled one after the other."""
    operator.api.put("jobs", cleanup_job(world.run(deletionPolicy="Delete")))
    await operator.passes(unseen="siddistillations")
    assert not operator.released()
    await operator.passes()
    await operator.passes(unseen="siddistillations")
    assert not operator.released()
    assert operator.api.of("events") == []


@pytest.mark.parametrize("orphaned", [False, True], ids=["deleted late", "left by its owner"])
async def test_a_job_that_may_be_admitted_yet_is_waited_for(
    operator: Operator, orphaned: bool
) -> None:
    """It waits in a queue, so it has no pods."""
    await operator.passes(4)
    operator.delete(job=False)
    training = operator.api.objects["jobs", *KEY]
    if orphaned:  # kubectl delete sid --cascade=orphan
        training["metadata"]["ownerReferences"] = []
        operator.api.put("jobs", training)
    await operator.passes(2)
    assert not operator.released()
    told = [message for reason, message, _ in operator.told() if reason == "CleanUpWaits"]
    assert len(told) == int(orphaned)
    assert all(f"as long as Job {world.NAME} is there" in message for message in told)

    operator.api.remove("jobs", *KEY)
    await operator.passes()
    assert operator.released()


async def test_the_next_resource_of_the_name_waits_for_the_clean_up(operator: Operator) -> None:
    await operator.passes(4)
    operator.delete()
    operator.api.put("siddistillations", restored())
    await operator.passes(3)
    (released,) = [job for job in operator.cleanups() if job["spec"]["parallelism"] == 1]
    assert ("jobs", *KEY) not in operator.api.objects
    released["status"] = {"conditions": [world.condition("Complete")]}
    operator.api.put("jobs", released)
    await operator.passes(2)
    assert ("jobs", *KEY) in operator.api.objects


async def test_a_clean_up_that_the_cluster_holds_back_is_put_into_the_queue_of_its_run(
    operator: Operator,
) -> None:
    """As Kueue does with manageJobsWithoutQueueName to a Job that is in no queue."""
    scheduling = {"queueName": "team"}
    operator.api.put("siddistillations", world.raw(deletionPolicy="Delete", scheduling=scheduling))
    await operator.passes(4)
    operator.delete()
    await operator.passes(2)
    (job,) = operator.cleanups()
    assert operator.released()
    assert LABEL_QUEUE not in job["metadata"]["labels"], "it runs by itself"

    operator.api.put("jobs", job | {"spec": job["spec"] | {"suspend": True}})
    await operator.passes()
    (job,) = operator.cleanups()
    assert job["metadata"]["labels"][LABEL_QUEUE] == "team"
    assert job["spec"]["suspend"] is True, "it is the queue's now"
    writes = len(operator.api.writes)
    await operator.passes(2)
    assert len(operator.api.writes) == writes, "at rest"


async def test_a_failed_clean_up_is_told_once_and_then_forgotten(operator: Operator) -> None:
    await operator.passes(4)
    operator.delete()
    (failed,) = operator.cleanups()
    failed["status"] = {"conditions": [world.condition("Failed", "DeadlineExceeded")]}
    operator.api.put("jobs", failed)
    await operator.passes()
    posts = operator.api.requests["POST", "events"]
    await operator.passes(2)
    assert operator.reasons().count("CleanUpFailed") == 1
    assert operator.api.requests["POST", "events"] == posts

    operator.api.remove("jobs", KEY.namespace, failed["metadata"]["name"])
    await operator.passes()
    operator.api.put("jobs", failed)  # no other way to see what it remembers
    await operator.passes()
    assert operator.api.requests["POST", "events"] == posts + 1
