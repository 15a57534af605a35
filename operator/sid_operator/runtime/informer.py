"""LIST and WATCH of one kind, kept up for as long as the process lives.

Rules this module keeps:

* A listing replaces the cache and asks for a look at every resource, old and new: what vanished
  unseen is noticed.
* A watch is resumed where it ended; only a version that is too old leads to a new listing.
* A stream that is silent for longer than bookmarks allow is dead, whatever TCP thinks.
* No error ends it; errors are logged and followed by a jittered pause, which grows while they
  follow one another closely. A watch that the server ends at once is followed by a short one.
* What it may do without, it may be forbidden: that is told, and tried again much later.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sid_operator.kube import errors
from sid_operator.kube.client import KubeClient
from sid_operator.kube.kinds import Kind, Object
from sid_operator.runtime.store import Key, Store

logger = logging.getLogger(__name__)

MAX_PAUSE_SECONDS = 30.0
SHORTEST_SECONDS = 1.0
"""A watch that ends sooner was none, though the server told of no error."""
FORBIDDEN_PAUSE_SECONDS = 600.0
"""Rights change rarely."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Watched:
    """Which objects are watched, and how.

    Attributes:
        namespace: Namespace to watch; "" for all.
        labels: Label selector.
        duration: Seconds that the server keeps a watch open.
        silence: Seconds without a word after which a watch is dead.
    """

    namespace: str
    labels: str
    duration: int
    silence: float


class Informer:
    """Keeps a store equal to what the API server holds, and tells which resources changed.

    Args:
        client: Asks the API server.
        kind: What is watched.
        store: Where it is kept.
        notify: Called with each resource concerned by a change.
        watched: Which of its objects, and how.
        failed: Told the plural of the kind when a watch broke off.
        forbidden: Told that the kind may not be watched; None where that is an error as any.
        sleep: How to pause.

    Attributes:
        synced: Set when the store was filled, or will not be for now as it is forbidden.
    """

    def __init__(
        self,
        client: KubeClient,
        kind: Kind,
        store: Store,
        notify: Callable[[Key], None],
        *,
        watched: Watched,
        failed: Callable[[str], None] = lambda _: None,
        forbidden: Callable[[], None] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.kind = kind
        self.store = store
        self.synced = asyncio.Event()
        self.last_contact = time.monotonic()
        self._client = client
        self._notify = notify
        self._watched = watched
        self._failed = failed
        self._forbidden = forbidden
        self._sleep = sleep
        self._version = ""

    async def run(self) -> None:
        """Watch until cancelled."""
        failures = 0
        while True:
            since = time.monotonic()
            try:
                await self._once()
                failures = 0
            except errors.GoneError:
                logger.info("%s: the watch is too old, listing again", self.kind.plural)
                self._version = ""
            except errors.KubeError as error:
                if self._does_without(error):
                    await self._sleep(FORBIDDEN_PAUSE_SECONDS)
                    continue
                # A watch that lived a while and broke is news; it is not one failure more.
                failures = failures + 1 if time.monotonic() - since < MAX_PAUSE_SECONDS else 1
                pause = _pause(failures)
                logger.warning("%s: %s; again in %.1f s", self.kind.plural, error, pause)
                self._failed(self.kind.plural)
                await self._sleep(pause)
                continue
            if time.monotonic() - since < SHORTEST_SECONDS:
                await self._sleep(_pause(1))

    def _does_without(self, error: errors.KubeError) -> bool:
        """Whether the kind is forbidden, and may be; whoever wants it is told."""
        if self._forbidden is None or not isinstance(error, errors.ForbiddenError):
            return False
        logger.info("%s: %s", self.kind.plural, error)
        self._forbidden()
        self.synced.set()
        return True

    async def _once(self) -> None:
        if not self._version:
            await self._list()
        async for event, obj in self._client.watch(
            self.kind,
            self._watched.namespace,
            labels=self._watched.labels,
            resource_version=self._version,
            duration=self._watched.duration,
            silence=self._watched.silence,
            opened=self._touch,
        ):
            self._heard(event, obj)

    async def _list(self) -> None:
        objects, version = await self._client.list(
            self.kind, self._watched.namespace, labels=self._watched.labels
        )
        concerned = self.store.replace(objects, version=int(version or 0))
        self._version = version
        self._touch()
        self.synced.set()
        for key in concerned:
            self._notify(key)

    def _touch(self) -> None:
        self.last_contact = time.monotonic()

    def _heard(self, event: str, obj: Object) -> None:
        self._touch()
        if event == "DELETED":
            concerned = self.store.remove(obj)
        elif event in ("ADDED", "MODIFIED"):
            concerned = self.store.put(obj)
        else:
            concerned = None
        self._version = obj["metadata"]["resourceVersion"]
        if concerned is not None:
            self._notify(concerned)


def _pause(failures: int) -> float:
    longest = min(MAX_PAUSE_SECONDS, 0.5 * 2.0 ** min(failures, 10))
    return longest * random.uniform(0.5, 1.0)
