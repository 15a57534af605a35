"""Lets the clean-up Jobs go whose resources are gone.

Rules this module keeps:

* The caches were filled one after the other: the API server is asked who lives before anything is
  removed.
* What was told of a Job, and which Jobs are known, is remembered no longer than the Job is there.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sid_operator.kube.client import KubeClient
from sid_operator.kube.kinds import Object
from sid_operator.plan.cleanup import (
    copies,
    drop,
    enqueue,
    failures,
    is_due,
    not_cleaned,
    orphans,
    release,
    unqueued,
    waits_for,
)
from sid_operator.plan.decide import RETRY_SECONDS
from sid_operator.plan.jobs import Cleanup
from sid_operator.plan.model import Delete, Merge, Notice
from sid_operator.plan.objects import owned_by, owner_of
from sid_operator.plan.refusal import notice
from sid_operator.runtime.caches import Caches
from sid_operator.runtime.executor import Executor, RefusedError
from sid_operator.runtime.living import living_uids
from sid_operator.runtime.recorder import Recorder
from sid_operator.runtime.store import Key

Step = tuple[Cleanup, Delete | Merge]
"""A Job, and what is done about it."""


class Cleaner:
    """Looks after the clean-up Jobs of resources that are gone.

    Args:
        client: Asks the API server.
        caches: What was seen last.
        executor: Changes Jobs.
        recorder: Posts Events.
        now: Wall clock, in UTC.
    """

    def __init__(
        self,
        client: KubeClient,
        caches: Caches,
        executor: Executor,
        recorder: Recorder,
        now: Callable[[], datetime],
    ) -> None:
        self._client = client
        self._caches = caches
        self._executor = executor
        self._recorder = recorder
        self._now = now
        self._known: dict[Key, set[str]] = {}
        self._told: dict[Key, set[str]] = {}

    def knows(self, key: Key, uid: str) -> None:
        """Take note of the Jobs that are there with their resource, but do not bear their mark yet.

        Args:
            key: Names the resource.
            uid: That of the resource, which lives.
        """
        unmarked = {
            job.uid
            for job in self._caches.cleanups(key)
            if job.of_uid == uid and not job.original and not job.deleting
        }
        _keep(self._known, key, unmarked)

    async def clean(self, key: Key, raw: Object | None) -> float | None:
        """Let Jobs go, drop those that may be copies, and tell of those that failed.

        Args:
            key: Names the resource, be it gone.
            raw: The resource that lives under the name, if one does.

        Returns:
            Seconds until that is to be tried again, or None.
        """
        self._forget(key)
        cleanups, uid = self._caches.cleanups(key), raw["metadata"]["uid"] if raw else ""
        known, told = self._known.get(key, set()), self._told.get(key, set())
        for job in failures(cleanups, uid):
            await self._tell(key, job.uid, _deleted(key, job.of_uid), not_cleaned(job))
        strange = [job for job in copies(cleanups, uid, known) if job.uid not in told]
        waiting = orphans(cleanups, uid, known)
        if waiting and await self._is_in_use(key, uid, waiting[0]):
            waiting = ()
        now = self._now()
        due = [job for job in waiting if is_due(job, now)]
        steps: list[Step] = [(job, drop(job)) for job in strange]
        steps += [(job, release(job, now)) for job in due]
        steps += [(job, enqueue(job)) for job in unqueued(cleanups, uid)]
        refused = await self._take(key, raw, steps)
        return RETRY_SECONDS if refused or len(due) < len(waiting) else None

    async def _is_in_use(self, key: Key, uid: str, waiting: Cleanup) -> bool:
        """Whether something of a run is there that may write: pods, or a Job that may make some.

        Who deletes the resource alone (``--cascade=orphan``) is told that the folder stays.
        """
        job = self._caches.jobs.get(key)
        if job is not None and not owned_by(job, uid):
            if not owner_of(job) and "deletionTimestamp" not in job["metadata"]:
                gone = _deleted(key, waiting.of_uid)
                await self._tell(key, job["metadata"]["uid"], gone, waits_for(key.name))
            return True
        return bool(self._caches.pods.owned_by(key))

    async def _take(self, key: Key, raw: Object | None, steps: list[Step]) -> bool:
        """Take steps about Jobs whose resources are really gone; gives whether one was refused."""
        living = await living_uids(self._client, key) if steps else set()
        for job, step in steps:
            if job.of_uid in living:
                continue
            about = _deleted(key, job.of_uid)
            if isinstance(step, Delete):
                about = raw or about
            try:
                await self._executor.execute(about, step)
            except RefusedError as error:
                await self._recorder.post(about, [notice(error.refusal)])
                return True
            if isinstance(step, Delete):
                self._told.setdefault(key, set()).add(job.uid)
        return False

    async def _tell(self, key: Key, job_uid: str, about: Object, told: Notice) -> None:
        """Post an Event about a Job, once."""
        before = self._told.setdefault(key, set())
        if job_uid not in before:
            await self._recorder.post(about, [told])
            before.add(job_uid)

    def _forget(self, key: Key) -> None:
        there = {job["metadata"]["uid"] for job in self._caches.jobs.owned_by(key)}
        for memory in (self._known, self._told):
            _keep(memory, key, memory.get(key, set()) & there)


def _keep(memory: dict[Key, set[str]], key: Key, content: set[str]) -> None:
    if content:
        memory[key] = content
    else:
        memory.pop(key, None)


def _deleted(key: Key, uid: str) -> Object:
    """What is known of a resource that is gone: enough to post an Event on."""
    return {
        "metadata": {
            "namespace": key.namespace,
            "name": key.name,
            "uid": uid,
            "resourceVersion": "",
        }
    }
