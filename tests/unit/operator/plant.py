"""Informers, queue and reconciler together, against a small API server over real HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

from sid_operator.handlers import stopped
from sid_operator.metrics.work import WorkMetrics
from sid_operator.runtime.controller import Controller
from sid_operator.runtime.queue import WorkQueue
from sid_operator.runtime.scraper import Scraper
from sid_operator.runtime.store import Key
from sid_operator.settings import Settings
from tests.unit.operator import world
from tests.unit.operator.fake_api import FakeApi, served

WRITES = ("PATCH", "POST", "PUT", "DELETE")


@dataclass
class Plant:
    """A controller beside its API server."""

    api: FakeApi
    start: Callable[..., Controller]
    stop: Callable[[], Any]

    def writes(self) -> int:
        """Requests that change something."""
        return sum(self.api.requests[key] for key in self.api.requests if key[0] in WRITES)


@contextlib.asynccontextmanager
async def planted() -> AsyncIterator[Plant]:
    """A controller that is started by the test, and stopped after it."""
    settings = Settings(leader_election=False, watch_silence=30)
    async with served() as (api, client), aiohttp.ClientSession() as pods:
        tasks: list[asyncio.Task[None]] = []

        def start(workers: int = 4, metrics: WorkMetrics | None = None) -> Controller:
            queue: WorkQueue[Key] = WorkQueue()
            scraper = Scraper(pods, queue.add, interval=60, timeout=1)
            chosen = dataclasses.replace(settings, workers=workers)
            counted = metrics or WorkMetrics()
            controller = Controller(client, queue, scraper, None, chosen, metrics=counted)
            tasks.append(asyncio.create_task(controller.run()))
            return controller

        async def stop() -> None:
            while tasks:
                await stopped(tasks.pop())

        try:
            yield Plant(api, start, stop)
        finally:
            await stop()


async def until(look: Callable[[], object], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not look():  # noqa: ASYNC110 - what is looked at is the state of a server
            await asyncio.sleep(0.01)


def phase(api: FakeApi) -> str:
    (resource,) = api.of("siddistillations")
    return str(resource["status"].get("phase", ""))


def waits_for(api: FakeApi, field: str = "reason") -> str:
    """What PodsReady of the resource says."""
    (resource,) = api.of("siddistillations")
    conditions = resource["status"].get("conditions", [])
    return next((str(c[field]) for c in conditions if c["type"] == "PodsReady"), "")


def reasons(api: FakeApi) -> list[str]:
    return [event["reason"] for event in api.of("events")]


def condition(api: FakeApi, kind: str) -> dict[str, Any] | None:
    """A condition of the resource."""
    (resource,) = api.of("siddistillations")
    found = resource["status"].get("conditions", [])
    return next((one for one in found if one["type"] == kind), None)


def edit(api: FakeApi, **sections: Any) -> None:
    """Somebody changes the spec of the resource."""
    (resource,) = api.of("siddistillations")
    generation = resource["metadata"]["generation"] + 1
    metadata = resource["metadata"] | {"generation": generation}
    spec = resource["spec"] | sections
    api.put("siddistillations", resource | {"metadata": metadata, "spec": spec})


def made_by(pod: dict[str, Any], job: dict[str, Any]) -> dict[str, Any]:
    """A pod of a Job."""
    pod["metadata"]["ownerReferences"][0]["uid"] = job["metadata"]["uid"]
    return pod


def named(name: str) -> dict[str, Any]:
    """A resource of another name."""
    other = world.raw()
    other["metadata"] |= {"name": name, "uid": f"uid-of-{name}"}
    return other
