"""Leadership through a Lease: at most one process acts.

Rules this module keeps:

* The Lease is changed by compare-and-swap on its resource version only.
* Clocks are not compared between machines: a Lease is free when *we* have seen it unchanged for
  its duration, by our own monotonic clock.
* Who cannot renew in time has lost, and must stop acting before anyone else may start: the client
  sends no change for one who does not lead (:attr:`Leader.leading`), and the caller ends the
  process, because a pass may be anywhere.
* A clean exit empties the Lease, so that a successor need not wait.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from sid_operator.kube import errors
from sid_operator.kube.client import KubeClient
from sid_operator.kube.kinds import LEASES, Object

logger = logging.getLogger(__name__)

Lease = Object

RETRIES_PER_INTERVAL = 5
"""A failed renewal is tried again this much sooner than a renewal is due."""
LOOKS_PER_INTERVAL = 2
"""A standby looks this much more often than a leader renews: what it sees late, it takes late."""


def since_boot() -> float:
    """Seconds of a clock that never jumps, and does not stand still while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, kw_only=True, slots=True)
class LeaseSettings:
    """Which Lease, who we are in it, and its times in seconds."""

    namespace: str
    name: str
    identity: str
    duration: float = 15.0
    interval: float = 5.0
    deadline: float = 10.0

    def __post_init__(self) -> None:
        if not self.interval < self.deadline < self.duration:
            raise ValueError(
                f"lease times must grow: renew interval {self.interval} < renew deadline "
                f"{self.deadline} < duration {self.duration}"
            )


class Leader:
    """One candidate for one Lease.

    Args:
        client: Asks the API server.
        settings: Which Lease and its times.
        monotonic: Seconds of a clock that neither jumps nor stands still.
        now: Wall clock, for people who read the Lease.
    """

    def __init__(
        self,
        client: KubeClient,
        settings: LeaseSettings,
        *,
        monotonic: Callable[[], float] = since_boot,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client = client
        self._settings = settings
        self._monotonic = monotonic
        self._now = now
        self._stands_by = ""
        self._seen_version = ""
        self._seen_at = 0.0
        self._renewed_at = 0.0
        self._held: Lease | None = None

    @property
    def leading(self) -> bool:
        """Whether we hold the Lease, as far as our own clock can tell."""
        age = self._monotonic() - self._renewed_at
        return self._held is not None and age < self._settings.deadline

    async def acquire(self) -> None:
        """Wait until the Lease is ours."""
        while not await self._tried(self._take):  # noqa: ASYNC110 - the state of a server
            await asyncio.sleep(self._settings.interval / LOOKS_PER_INTERVAL)
        logger.info("%s leads", self._settings.identity)

    async def keep(self) -> None:
        """Renew the Lease; returns when leadership is lost."""
        renewed = True
        while True:
            interval = self._settings.interval
            await asyncio.sleep(interval if renewed else interval / RETRIES_PER_INTERVAL)
            if not self.leading:
                break
            left = self._settings.deadline - (self._monotonic() - self._renewed_at)
            try:
                async with asyncio.timeout(left):
                    renewed = await self._tried(self._renew)
            except TimeoutError:
                break
        logger.error("%s no longer leads", self._settings.identity)

    async def release(self) -> None:
        """Give the Lease back, if it is ours."""
        if self._held is None:
            return
        lease, self._held = self._held, None
        lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
        try:
            await self._client.replace(LEASES, lease)
        except errors.KubeError as error:
            logger.warning("the Lease could not be released: %s", error)

    async def _tried(self, attempt: Callable[[], Awaitable[bool]]) -> bool:
        try:
            return await attempt()
        except errors.KubeError as error:
            logger.warning("Lease %s: %s", self._settings.name, error)
            return False

    async def _take(self) -> bool:
        lease = await self._client.get(LEASES, self._settings.namespace, self._settings.name)
        if lease is None:
            return await self._wrote(self._client.create(LEASES, *self._new()))
        if not self._free(lease):
            self._stand_by(lease)
            return False
        return await self._wrote(self._client.replace(LEASES, self._claimed(lease)))

    async def _renew(self) -> bool:
        assert self._held is not None  # noqa: S101 - only a leader renews
        self._held["spec"]["renewTime"] = self._micro_time()
        try:
            return await self._wrote(self._client.replace(LEASES, self._held))
        except errors.ConflictError:
            held = await self._client.get(LEASES, self._settings.namespace, self._settings.name)
            if held is None or held["spec"].get("holderIdentity") != self._settings.identity:
                self._held = None  # somebody else's now
            else:
                self._held = held  # an earlier renewal arrived although its answer did not
            return False

    async def _wrote(self, write: Awaitable[Lease]) -> bool:
        asked_at = self._monotonic()
        self._held = await write
        self._renewed_at = asked_at
        return True

    def _free(self, lease: Lease) -> bool:
        version = lease["metadata"]["resourceVersion"]
        if version != self._seen_version:
            self._seen_version, self._seen_at = version, self._monotonic()
        spec = lease.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        if holder in ("", self._settings.identity):
            return True
        duration = float(spec.get("leaseDurationSeconds") or self._settings.duration)
        return self._monotonic() - self._seen_at >= duration

    def _stand_by(self, lease: Lease) -> None:
        holder = str(lease["spec"]["holderIdentity"])
        if holder != self._stands_by:
            self._stands_by = holder
            logger.info("%s stands by, as %s leads", self._settings.identity, holder)

    def _new(self) -> tuple[str, Lease]:
        namespace = self._settings.namespace
        lease: Lease = {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.name,
            "metadata": {"namespace": namespace, "name": self._settings.name},
            "spec": {"leaseTransitions": -1},
        }
        return namespace, self._claimed(lease)

    def _claimed(self, lease: Lease) -> Lease:
        now = self._micro_time()
        before = lease.get("spec") or {}
        spec = {
            "holderIdentity": self._settings.identity,
            "leaseDurationSeconds": round(self._settings.duration),
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": int(before.get("leaseTransitions") or 0) + 1,
        }
        return {**lease, "spec": spec}

    def _micro_time(self) -> str:
        return self._now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
