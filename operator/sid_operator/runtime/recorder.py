"""Posts Events on resources.

Rules this module keeps:

* What was told is not told again before the status says so too (:meth:`Recorder.settled`): while
  the status cannot be written, each pass plans the same transition anew, whatever version the
  resource has by then.
* The name of an Event follows from the version of the resource that it was planned from: a pass
  that is repeated after a crash posts the same name, which the API server refuses as a duplicate.
  It begins with that version, so that Events of one second are listed in their order.
* An Event that cannot be posted holds nothing up; it is logged. It comes before the status that
  says the same, lest a crash in between lose it, so the status waits a few seconds for it at most.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from datetime import UTC, datetime

from sid_operator.api.fields import rfc3339
from sid_operator.api.names import API_VERSION, KIND, OPERATOR
from sid_operator.kube import errors
from sid_operator.kube.client import KubeClient
from sid_operator.kube.kinds import EVENTS, Object
from sid_operator.plan.model import Notice
from sid_operator.resources.metadata import digest
from sid_operator.runtime.store import Key, key_of

logger = logging.getLogger(__name__)

MAX_NAME = 253
VERSION_DIGITS = 16
POST_SECONDS = 5.0
"""Longest that a pass waits for the Events of a transition to be taken."""


class Recorder:
    """Posts Events in the name of one operator process."""

    def __init__(self, client: KubeClient, identity: str) -> None:
        self._client = client
        self._identity = identity
        self._told: dict[Key, set[str]] = {}

    async def post(self, resource: Object, notices: Iterable[Notice]) -> None:
        """Post Events on a resource, in order."""
        try:
            async with asyncio.timeout(POST_SECONDS):
                await self._post(resource, notices)
        except TimeoutError:
            logger.warning("events could not be posted: no answer in %.0f s", POST_SECONDS)

    async def _post(self, resource: Object, notices: Iterable[Notice]) -> None:
        uid = resource["metadata"]["uid"]
        for notice in notices:
            told = self._told.setdefault(key_of(resource), set())
            mark = digest([uid, *_known_by(notice)])
            if mark in told:
                continue
            logger.info("%s: %s", notice.reason, notice.message)
            if await self._posted(resource, notice):
                told.add(mark)

    def settled(self, key: Key) -> None:
        """What was told of a resource stands in its status now, or the resource is gone."""
        self._told.pop(key, None)

    async def _posted(self, resource: Object, notice: Notice) -> bool:
        namespace = resource["metadata"]["namespace"]
        try:
            await self._client.create(EVENTS, namespace, self._event(resource, notice))
        except errors.ConflictError:
            return True  # by an earlier pass
        except errors.KubeError as error:
            logger.warning("event %s could not be posted: %s", notice.reason, error)
            return False
        return True

    def _event(self, resource: Object, notice: Notice) -> Object:
        metadata = resource["metadata"]
        version = str(metadata["resourceVersion"])
        mark = digest([metadata["uid"], version, *_known_by(notice)])
        suffix = f"{version.rjust(VERSION_DIGITS, '0')}.{mark}"
        now = rfc3339(datetime.now(UTC))
        return {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.name,
            "metadata": {
                "name": f"{metadata['name'][: MAX_NAME - len(suffix) - 1]}.{suffix}",
                "namespace": metadata["namespace"],
            },
            "involvedObject": {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
                "resourceVersion": metadata["resourceVersion"],
            },
            "type": notice.type,
            "reason": notice.reason,
            "message": notice.message,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "source": {"component": OPERATOR},
            "reportingComponent": OPERATOR,
            "reportingInstance": self._identity[:128],
        }


def _known_by(notice: Notice) -> tuple[str, str, str]:
    """What tells a notice from others of the same resource."""
    return notice.type, notice.reason, notice.known_by or notice.message
