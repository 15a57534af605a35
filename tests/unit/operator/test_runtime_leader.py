"""Leadership: compare-and-swap, expiry by the local clock, loss and release."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sid_operator.kube import errors
from sid_operator.runtime.leader import Leader, LeaseSettings
from tests.unit.operator import virtual_time


@dataclass
class LeaseServer:
    """The API server's one Lease, with compare-and-swap, in virtual time."""

    lease: dict[str, Any] | None = None
    version: int = 0
    reachable: bool = True
    lose_answers: int = 0
    delay: float = 0.0
    writes: list[str] = field(default_factory=list)

    async def get(self, *_: object) -> dict[str, Any] | None:
        await self._travel()
        return None if self.lease is None else _copied(self.lease)

    async def create(self, _kind: object, _namespace: str, lease: dict[str, Any]) -> dict[str, Any]:
        await self._travel()
        if self.lease is not None:
            raise errors.ConflictError(409, "exists")
        return self._written(lease)

    async def replace(self, _kind: object, lease: dict[str, Any]) -> dict[str, Any]:
        await self._travel()
        assert self.lease is not None
        if lease["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            raise errors.ConflictError(409, "changed")
        return self._written(lease)

    async def _travel(self) -> None:
        await asyncio.sleep(self.delay)
        if not self.reachable:
            raise errors.UnreachableError("refused")

    def _written(self, lease: dict[str, Any]) -> dict[str, Any]:
        self.version += 1
        self.lease = _copied(lease)
        self.lease["metadata"]["resourceVersion"] = str(self.version)
        self.writes.append(str(lease["spec"]["holderIdentity"]))
        if self.lose_answers:
            self.lose_answers -= 1
            raise errors.UnreachableError("reset")
        return _copied(self.lease)

    @property
    def holder(self) -> str:
        """Who holds the Lease."""
        return "" if self.lease is None else str(self.lease["spec"]["holderIdentity"])


def _copied(lease: dict[str, Any]) -> dict[str, Any]:
    return {name: dict(part) if isinstance(part, dict) else part for name, part in lease.items()}


def candidate(server: LeaseServer, identity: str, *, wrong_by: float = 0.0) -> Leader:
    """A candidate, whose wall clock may be wrong."""
    start = datetime(2026, 11, 22, tzinfo=UTC) + timedelta(seconds=wrong_by)
    return Leader(
        server,  # type: ignore[arg-type]
        LeaseSettings(namespace="system", name="op", identity=identity),
        monotonic=virtual_time.now,
        now=lambda: start + timedelta(seconds=virtual_time.now()),
    )


async def keeping(leader: Leader) -> asyncio.Task[None]:
    await leader.acquire()
    return asyncio.create_task(leader.keep())


async def stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("wrong_by", [-3600.0, 0.0, 3600.0])
@virtual_time.test
async def test_a_standby_takes_over_when_the_leader_falls_silent(wrong_by: float) -> None:
    server = LeaseServer()
    first = await keeping(candidate(server, "one"))
    second = candidate(server, "two", wrong_by=wrong_by)
    waiting = asyncio.create_task(second.acquire())
    await asyncio.sleep(60)
    assert not waiting.done()
    assert server.holder == "one"
    await stop(first)
    dead_since = virtual_time.now()
    await waiting
    assert server.holder == "two"
    assert 10 <= virtual_time.now() - dead_since <= 18
    assert server.lease is not None
    assert server.lease["spec"]["leaseTransitions"] == 1


@virtual_time.test
async def test_a_released_lease_is_taken_at_the_next_look() -> None:
    server = LeaseServer()
    first = candidate(server, "one")
    task = await keeping(first)
    waiting = asyncio.create_task(candidate(server, "two").acquire())
    await asyncio.sleep(12)
    await stop(task)
    await first.release()
    released = virtual_time.now()
    await waiting
    assert virtual_time.now() - released <= 5


@virtual_time.test
async def test_only_one_of_many_candidates_wins() -> None:
    server = LeaseServer(delay=0.1)
    candidates = [candidate(server, f"c{n}") for n in range(5)]
    tasks = [asyncio.create_task(c.acquire()) for c in candidates]
    await asyncio.sleep(3)
    assert sum(task.done() for task in tasks) == 1
    assert len(server.writes) == 1
    for task in tasks:
        await stop(task)


@virtual_time.test
async def test_a_leader_that_cannot_renew_ends_before_another_may_start() -> None:
    server = LeaseServer()
    leader = candidate(server, "one")
    task = await keeping(leader)
    await asyncio.sleep(12)
    server.reachable = False
    cut_off = virtual_time.now()
    await task
    assert virtual_time.now() - cut_off <= 11
    assert not leader.leading


@virtual_time.test
async def test_a_hanging_server_ends_leadership_in_time_too() -> None:
    server = LeaseServer()
    task = await keeping(candidate(server, "one"))
    server.delay = 1000.0
    await task
    assert virtual_time.now() <= 11


@virtual_time.test
async def test_a_short_outage_and_a_lost_answer_are_survived() -> None:
    server = LeaseServer()
    leader = candidate(server, "one")
    task = await keeping(leader)
    await asyncio.sleep(6)
    server.reachable = False
    await asyncio.sleep(5)
    server.reachable = True
    await asyncio.sleep(10)
    assert leader.leading
    server.lose_answers = 1
    await asyncio.sleep(30)
    assert leader.leading
    assert set(server.writes) == {"one"}
    await stop(task)


@virtual_time.test
async def test_a_frozen_leader_that_wakes_up_knows_that_it_lost() -> None:
    server = LeaseServer()
    frozen = candidate(server, "one")
    await frozen.acquire()
    await asyncio.sleep(3)
    before = frozen.leading
    successor = candidate(server, "two")
    await successor.acquire()  # the first renews nothing meanwhile
    assert (before, frozen.leading) == (True, False)
    await asyncio.wait_for(frozen.keep(), timeout=10)
    assert server.holder == "two"


def test_times_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="must grow"):
        LeaseSettings(namespace="a", name="b", identity="c", duration=5, deadline=10)
