"""The work queue, in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from sid_operator.runtime.queue import WorkQueue
from tests.unit.operator import virtual_time


@virtual_time.test
async def test_a_key_added_often_comes_once() -> None:
    queue: WorkQueue[str] = WorkQueue()
    for key in "aab":
        queue.add(key)
    assert [await queue.get(), await queue.get()] == ["a", "b"]
    assert len(queue) == 2
    queue.done("a")
    queue.done("b")
    assert len(queue) == 0


@virtual_time.test
async def test_a_key_is_never_with_two_workers() -> None:
    queue: WorkQueue[str] = WorkQueue()
    at_work: set[str] = set()
    passes = 0

    async def worker() -> None:
        nonlocal passes
        while True:
            key = await queue.get()
            assert key not in at_work
            at_work.add(key)
            await asyncio.sleep(1)
            at_work.discard(key)
            passes += 1
            queue.done(key)

    async with asyncio.TaskGroup() as group:
        workers = [group.create_task(worker()) for _ in range(3)]
        for _ in range(20):
            queue.add("a")
            queue.add("b")
            await asyncio.sleep(0.3)
        await asyncio.sleep(5)
        assert not at_work
        assert passes >= 10
        for task in workers:
            task.cancel()


@virtual_time.test
async def test_added_while_worked_on_it_comes_again_afterwards() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    key = await queue.get()
    queue.add("a")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(10):
            await queue.get()
    queue.done(key)
    assert await queue.get() == "a"


@virtual_time.test
async def test_failures_back_off_and_success_forgets_them() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    waits = []
    for _ in range(12):
        key = await queue.get()
        before = virtual_time.now()
        queue.failed(key)
        await queue.get()
        waits.append(virtual_time.now() - before)
        queue.add(key)
        queue._release(key)
    assert waits == pytest.approx([0.5 * 2**n for n in range(10)] + [300, 300])
    await queue.get()
    queue.done("a")
    queue.add("a")
    await queue.get()
    assert queue.failed("a") == 0.5


@virtual_time.test
async def test_the_newest_alarm_counts_and_being_handed_out_cancels_it() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.later("a", 100)
    queue.later("a", 10)
    await queue.get()
    assert virtual_time.now() == pytest.approx(10)
    queue.done("a", look_again_after=50)
    queue.add("a")
    await queue.get()
    queue.done("a")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1000):
            await queue.get()
