"""What Events tell of children, asked for a namespace at a time.

Rules this module keeps:

* Events of one object are not asked for. The API server has no index of them and reads all of the
  namespace's for each question, and a thousand resources may wait for the same quota; so what was
  read of a namespace is shared for a few seconds, and no two passes read the same at once.
* Events that cannot be read hold nothing up. They may be forbidden, or be kept in a store of their
  own that is down: they are given up soon, not asked for again at once, and until then what was
  read before counts.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple
from weakref import WeakValueDictionary

from sid_operator.kube.client import KubeClient
from sid_operator.kube.errors import KubeError
from sid_operator.kube.kinds import EVENTS, Object
from sid_operator.plan.objects import time_of

logger = logging.getLogger(__name__)

SHARED_SECONDS = 5.0
"""How old what is told may be: half of the time after which missing pods are asked about."""
READ_SECONDS = 5.0
"""Longest that a pass waits for Events; a namespace's are told in a tenth of a second."""
FAILED_SECONDS = 30.0
"""How long Events that could not be read are not asked for again."""
KEPT_SECONDS = 900.0
"""How long what was read is kept for the time when nothing can be: runs that wait ask at least
every ten minutes."""
WARNED_SECONDS = 600.0
"""Time between two lines of the log that tell of it; the metrics count each."""


class Event(NamedTuple):
    """An Event: when it was, and what it tells."""

    time: datetime
    message: str


@dataclass(frozen=True, slots=True)
class _Reading:
    """What was read of a namespace, until when it is taken for the truth, and when it was."""

    until: float
    at: float
    by_uid: dict[str, list[Event]] = field(default_factory=dict)


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
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
        self._warned_at = float("-inf")

    async def about(self, namespace: str, uid: str, reason: str) -> list[Event]:
        """The Events of a reason about an object; those known last where none can be read."""
        about = namespace, reason
        lock = self._locks.setdefault(about, asyncio.Lock())
        async with lock:
            reading = self._readings.get(about)
            if reading is None or self._monotonic() >= reading.until:
                reading = await self._read(namespace, reason, reading)
                self._forget()
                self._readings[about] = reading
        return reading.by_uid.get(uid, [])

    async def _read(self, namespace: str, reason: str, before: _Reading | None) -> _Reading:
        at = self._monotonic()
        try:
            async with asyncio.timeout(READ_SECONDS):
                events, _ = await self._client.list(
                    EVENTS, namespace, fields=f"reason={reason}", attempts=1
                )
        except (KubeError, TimeoutError) as error:
            self._warn(namespace, error)
            until = self._monotonic() + FAILED_SECONDS
            return replace(before, until=until) if before is not None else _Reading(until, at)
        by_uid: dict[str, list[Event]] = {}
        for event in events:
            by_uid.setdefault(event["involvedObject"].get("uid", ""), []).append(_parsed(event))
        return _Reading(at + SHARED_SECONDS, at, by_uid)

    def _warn(self, namespace: str, error: Exception) -> None:
        now = self._monotonic()
        if now - self._warned_at < WARNED_SECONDS:
            return
        self._warned_at = now
        problem = str(error) or f"no answer in {READ_SECONDS:.0f} s"
        logger.warning(
            "events of namespace %s cannot be read, so why pods are missing may not be told: %s",
            namespace,
            problem,
        )

    def _forget(self) -> None:
        oldest = self._monotonic() - KEPT_SECONDS
        self._readings = {key: one for key, one in self._readings.items() if one.at > oldest}


def _parsed(event: Object) -> Event:
    metadata = event["metadata"]
    when = event.get("lastTimestamp") or event.get("eventTime") or metadata["creationTimestamp"]
    return Event(time_of(when), str(event.get("message", "")))
