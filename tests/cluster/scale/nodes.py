"""Plays the nodes: pods of chosen resources get an address, are ready, and tell progress.

Each pod has a loopback address of its own, as a node would give it one of the pod network. What
answers there is the trainer's contract, with an iteration more at each question.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from sid_operator.kube.kinds import PODS
from sid_trainer.contract import PROGRESS_PATH, PROGRESS_PORT, ProgressReport
from tests.cluster.control_plane.api import Api

Object = dict[str, Any]
ITERATIONS = 100_000


class Nodes:
    """Runs pods.

    Args:
        api: The API server.
        runs: Whether a pod is to run.
        tells: Whether it is asked for its progress.
    """

    def __init__(
        self, api: Api, runs: Callable[[Object], bool], tells: Callable[[Object], bool]
    ) -> None:
        self._api = api
        self._runs = runs
        self._tells = tells
        self._runner = web.AppRunner(_app(), access_log=None)
        self._numbers = itertools.count(1)
        self._running = 0
        self._more = asyncio.Condition()

    async def run(self, namespace: str) -> None:
        """Run every pod of a namespace that there is, or comes, until cancelled."""
        await self._runner.setup()
        seen: set[str] = set()
        try:
            async for kind, pod in self._api.watch_path(PODS.path(namespace)):
                uid = pod["metadata"]["uid"]
                if kind in ("ADDED", "MODIFIED") and uid not in seen and self._runs(pod):
                    seen.add(uid)
                    await self._start(pod)
        finally:
            await self._runner.cleanup()

    async def _start(self, pod: Object) -> None:
        number = next(self._numbers)
        address = f"127.{64 + number // 65536}.{number // 256 % 256}.{number % 256}"
        if self._tells(pod):
            await web.TCPSite(self._runner, address, PROGRESS_PORT).start()
        metadata = pod["metadata"]
        answer = await self._api.ask(
            "PATCH",
            PODS.path(metadata["namespace"], metadata["name"], "status"),
            {"status": running_status(pod, address)},
            content_type="application/merge-patch+json",
        )
        if answer.code != 200:
            raise RuntimeError(f"pod {metadata['name']}: {answer.code} {answer.message}")
        async with self._more:
            self._running += 1
            self._more.notify_all()

    async def started(self, count: int) -> None:
        """Wait until so many pods run."""
        async with self._more:
            await self._more.wait_for(lambda: self._running >= count)


@contextlib.asynccontextmanager
async def running(nodes: Nodes, namespace: str) -> AsyncIterator[asyncio.Task[None]]:
    """The nodes at work, until the block ends."""
    task = asyncio.create_task(nodes.run(namespace))
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def running_status(pod: Object, address: str) -> Object:
    """The status of a pod whose containers run and are ready."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    kinds = ("PodScheduled", "Initialized", "ContainersReady", "Ready")
    return {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": now,
        "conditions": [{"type": k, "status": "True", "lastTransitionTime": now} for k in kinds],
        "containerStatuses": [
            {
                "name": container["name"],
                "image": container["image"],
                "imageID": "",
                "ready": True,
                "started": True,
                "restartCount": 0,
                "state": {"running": {"startedAt": now}},
            }
            for container in pod["spec"]["containers"]
        ],
    }


def _app() -> web.Application:
    app = web.Application()
    counted = itertools.count(1)

    async def progress(_: web.Request) -> web.Response:
        report = ProgressReport(
            attempt=1,
            stage="training",
            time=datetime.now(UTC),
            iteration=min(next(counted), ITERATIONS),
            iterations=ITERATIONS,
            images=4,
            images_per_second=1.0,
            eta_seconds=60,
            metrics={"generatorLoss": 0.1, "fakeScoreLoss": 0.2},
        )
        return web.json_response(text=report.model_dump_json(by_alias=True))

    app.router.add_get(PROGRESS_PATH, progress)
    return app
