"""The work queue: which resources need another look, and when.

Rules this module keeps:

* A key is never with two workers at once; added while it is worked on, it comes again afterwards.
* Added often before a worker is free, it comes once.
* After a failure the key comes back after ``min(300, 0.5 * 2**n)`` seconds, n failures in a row.
* A key has at most one alarm; the newest one counts, and being handed out cancels it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import Generic, TypeVar

Item = TypeVar("Item", bound=Hashable)

FIRST_BACKOFF_SECONDS = 0.5
MAX_BACKOFF_SECONDS = 300.0


class WorkQueue(Generic[Item]):
    """Keys to work on, for workers in one event loop."""

    def __init__(self) -> None:
        self._ready: asyncio.Queue[Item] = asyncio.Queue()
        self._dirty: set[Item] = set()
        self._active: set[Item] = set()
        self._alarms: dict[Item, asyncio.TimerHandle] = {}
        self._failures: dict[Item, int] = {}

    def __len__(self) -> int:
        """Number of keys that wait or are being worked on."""
        return len(self._dirty | self._active)

    def add(self, key: Item) -> None:
        """Ask for a look at the key as soon as a worker is free."""
        if key in self._dirty:
            return
        self._dirty.add(key)
        if key not in self._active:
            self._ready.put_nowait(key)

    def later(self, key: Item, seconds: float) -> None:
        """Ask for a look at the key in so many seconds, in place of any earlier such wish."""
        self._silence(key)
        loop = asyncio.get_running_loop()
        self._alarms[key] = loop.call_later(max(0.0, seconds), self._ring, key)

    async def get(self) -> Item:
        """The next key, which is the caller's until :meth:`done` or :meth:`failed`."""
        key = await self._ready.get()
        self._dirty.discard(key)
        self._active.add(key)
        self._silence(key)
        return key

    def done(self, key: Item, *, look_again_after: float | None = None) -> None:
        """Hand the key back after success."""
        self._failures.pop(key, None)
        self._release(key)
        if look_again_after is not None:
            self.later(key, look_again_after)

    def failed(self, key: Item) -> float:
        """Hand the key back after a failure; gives the seconds until it comes again."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self._release(key)
        wait = min(MAX_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2.0 ** min(failures, 20))
        self.later(key, wait)
        return wait

    def _release(self, key: Item) -> None:
        self._active.discard(key)
        if key in self._dirty:
            self._ready.put_nowait(key)

    def _ring(self, key: Item) -> None:
        self._alarms.pop(key, None)
        self.add(key)

    def _silence(self, key: Item) -> None:
        alarm = self._alarms.pop(key, None)
        if alarm is not None:
            alarm.cancel()
