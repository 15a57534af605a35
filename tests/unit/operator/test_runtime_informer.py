"""How an informer treats a server that ends its watches."""

from __future__ import annotations

import asyncio

import pytest

from sid_operator.handlers import stopped
from sid_operator.kube.kinds import JOBS
from sid_operator.runtime.informer import Informer, Watched
from sid_operator.runtime.store import Store, owner_by_label
from sid_operator.runtime.trim import trim_job
from tests.unit.operator.fake_api import served

WATCHED = Watched(namespace="", labels="", duration=60, silence=30)


@pytest.mark.parametrize("end", ["well", "too old"])
async def test_a_watch_that_ends_at_once_is_not_opened_again_without_pause(end: str) -> None:
    pauses: list[float] = []
    third = asyncio.Event()

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            third.set()
            await asyncio.Event().wait()

    async with served() as (api, client), asyncio.timeout(30):
        api.ends_watches = end == "well"
        api.compacted = 0 if end == "well" else api.version + 1
        store = Store(trim=trim_job, owner=owner_by_label)
        informer = Informer(client, JOBS, store, print, watched=WATCHED, sleep=sleep)
        task = asyncio.create_task(informer.run())
        await third.wait()
        await stopped(task)
    assert all(0.5 <= pause <= 1 for pause in pauses)
