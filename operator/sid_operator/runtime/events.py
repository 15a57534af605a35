"""What Events tell of children, asked for a namespace at a time.

Rule: Events of one object are not asked for. The API server has no index of them and reads all of
the namespace's for each question, and a thousand resources may wait for the same quota; so what was
read of a namespace is shared for a few seconds, and no two passes read at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sid_operator.kube.client import KubeClient
from sid_operator.kube.kinds import EVENTS
from sid_operator.plan.observed import time_of

SHARED_SECONDS = 5.0
"""How old what is told may be: half of the time after which missing pods are asked about."""


class Told(NamedTuple):
    """When an Event was, and what it tells."""

    time: datetime
    message: str


@dataclass(frozen=True, slots=True)
class _Reading:
    at: float
    by_uid: dict[str, list[Told]]


class EventReader:
    """Reads Events.

    Args:
        client: Asks the API server.
        monotonic: Seconds of a clock that never jumps.
    """

    def __init__(
        self, client: KubeClient, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._monotonic = monotonic
        self._readings: dict[tuple[str, str], _Reading] = {}
        self._lock = asyncio.Lock()

    async def about(self, namespace: str, uid: str, reason: str) -> list[Told]:
        """The Events of a reason about an object.

        Raises:
            KubeError: They cannot be read.
        """
        async with self._lock:
            self._forget()
            reading = self._readings.get((namespace, reason))
            if reading is None:
                reading = await self._read(namespace, reason)
                self._readings[namespace, reason] = reading
        return reading.by_uid.get(uid, [])

    async def _read(self, namespace: str, reason: str) -> _Reading:
        at = self._monotonic()
        events, _ = await self._client.list(EVENTS, namespace, fields=f"reason={reason}")
        by_uid: dict[str, list[Told]] = {}
        for event in events:
            by_uid.setdefault(event["involvedObject"].get("uid", ""), []).append(_told(event))
        return _Reading(at, by_uid)

    def _forget(self) -> None:
        oldest = self._monotonic() - SHARED_SECONDS
        self._readings = {key: one for key, one in self._readings.items() if one.at > oldest}


def _told(event: dict[str, Any]) -> Told:
    metadata = event["metadata"]
    when = event.get("lastTimestamp") or event.get("eventTime") or metadata["creationTimestamp"]
    return Told(time_of(when), str(event.get("message", "")))
