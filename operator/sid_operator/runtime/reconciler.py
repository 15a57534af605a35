"""One pass over one resource: look, plan, change children, write the status.

Rules this module keeps:

* Children are changed before the status tells of it; at most one status patch a pass.
* A pass that changed children ends there, and the next one tells: the resources that wait get
  their Jobs first, whose pods wait for nodes, and what is told can wait. A second pass in a row
  that changes some tells at once.
* A resource whose status is not found, and which is not listed either, is gone, whatever the cache
  holds.
* Pods that are gone are forgotten once what they said is in the status.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from datetime import UTC, datetime

from sid_operator.kube import errors
from sid_operator.kube.client import KubeClient
from sid_operator.kube.kinds import Kind, Object
from sid_operator.plan.decide import plan
from sid_operator.plan.model import (
    Action,
    CreationFailure,
    Observed,
    Plan,
    PodEvent,
    Refusal,
    Resource,
    Try,
)
from sid_operator.plan.resource import resource_of
from sid_operator.plan.waits import soonest
from sid_operator.resources.run import Installed
from sid_operator.runtime.caches import Caches
from sid_operator.runtime.cleaner import Cleaner
from sid_operator.runtime.events import EventReader
from sid_operator.runtime.executor import Executor, FoundError, RefusedError
from sid_operator.runtime.living import living_uids
from sid_operator.runtime.recorder import Recorder
from sid_operator.runtime.scraper import Scraper
from sid_operator.runtime.store import Key
from sid_operator.runtime.teller import Teller

NEXT_TURN = 0.0
"""Seconds until a pass that comes behind all that wait already."""


class Reconciler:
    """Makes the API server's objects follow the resources.

    Args:
        client: Asks the API server.
        caches: What was seen last.
        scraper: Holds the progress reports.
        recorder: Posts Events.
        default: For resources that say nothing of it.
    """

    def __init__(
        self,
        client: KubeClient,
        caches: Caches,
        scraper: Scraper,
        recorder: Recorder,
        *,
        default: Installed,
    ) -> None:
        self._client = client
        self._caches = caches
        self._scraper = scraper
        self._recorder = recorder
        self._events = EventReader(client)
        self._executor = Executor(client, caches, recorder)
        self._teller = Teller(client, caches, recorder)
        self._default = default
        self._untold: set[Key] = set()
        self._cleaner = Cleaner(client, caches, self._executor, recorder, _now)

    async def reconcile(self, key: Key) -> float | None:
        """Bring one resource where it should be.

        Returns:
            Seconds until it should be looked at again whatever happens, or None.

        Raises:
            KubeError: Something could not be done; try again later.
            StatusRefusedError: The status could not be written for a reason that stays.
        """
        raw = self._caches.resources.get(key)
        retried_after = await self._cleaner.clean(key, raw)
        if raw is None or "deletionTimestamp" in raw["metadata"]:
            self._recorder.settled(key)
            self._scraper.follow(key, None)
            self._caches.pods.forget_gone(key)
            self._untold.discard(key)
            self._executor.settled(key)
            return retried_after
        resource = resource_of(raw, self._default)
        gone = self._caches.pods.gone(key)
        try:
            planned = await self._carried_out(key, raw, resource)
        finally:
            self._cleaner.knows(key, resource.uid)
        if planned is None:
            return NEXT_TURN
        self._scraper.follow(key, planned.scrape)
        try:
            await self._teller.tell(raw, planned)
        except errors.NotFoundError:
            if resource.uid in await living_uids(self._client, key):
                raise
            self._caches.resources.forget(raw)
            return NEXT_TURN
        self._recorder.settled(key)
        self._caches.pods.forget_gone(key, gone)
        waits = (retried_after, planned.look_again_after, self._executor.seconds_left(key))
        return soonest(waits)

    async def _carried_out(self, key: Key, raw: Object, resource: Resource) -> Plan | None:
        """Plan and change children; the plan afterwards says what is to be told.

        Returns:
            None where that is left to the next pass.
        """
        first = await self._informed(resource, self._caches.observe(resource, self._scraper))
        if not any(isinstance(action, Try) for action in first.actions):
            self._executor.settled(key)
        if not first.actions:
            self._untold.discard(key)
            return first
        found, refusal = await self._changed(raw, first.actions)
        if not found and refusal is None and key not in self._untold:
            self._untold.add(key)
            return None
        self._untold.discard(key)
        observed = self._caches.observe(resource, self._scraper, found)
        return plan(resource, dataclasses.replace(observed, refusal=refusal), _now())

    async def _changed(
        self, raw: Object, actions: Iterable[Action]
    ) -> tuple[dict[Kind, Object], Refusal | None]:
        """Change children; gives what was met under their names, and what was refused first.

        A refusal ends only what depends on it: what stops a run is carried out all the same.
        """
        refusal: Refusal | None = None
        for action in actions:
            if refusal is not None and action.dependent:
                continue
            try:
                await self._executor.execute(raw, action)
            except FoundError as error:
                return {error.kind: error.found}, refusal
            except RefusedError as error:
                refusal = refusal or error.refusal
        return {}, refusal

    async def _informed(self, resource: Resource, observed: Observed) -> Plan:
        """The plan, made again with events of Job or pod where they tell more."""
        first = plan(resource, observed, _now())
        job = observed.job
        if first.wants_creation_failures and job is not None:
            events = await self._events.about(resource.namespace, job.uid, "FailedCreate")
            failures = tuple(CreationFailure(*event) for event in events)
            observed = dataclasses.replace(observed, creation_failures=failures)
        elif first.wants_pod_events:
            told = [
                PodEvent(*event, question.pod_uid, question.reason)
                for question in first.wants_pod_events
                for event in await self._events.about(
                    resource.namespace, question.pod_uid, question.reason
                )
            ]
            observed = dataclasses.replace(observed, pod_events=tuple(told))
        else:
            return first
        return plan(resource, observed, _now())


def _now() -> datetime:
    return datetime.now(UTC)
