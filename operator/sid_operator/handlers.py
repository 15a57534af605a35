"""kopf: login, start-up and clean-up, signals and probes.

The resource itself is watched by our own informer, as its children are, and not by
``kopf.on.event``:

* kopf tells a handler neither when its first listing is complete nor what vanished while a watch
  was broken, so a cache fed by it keeps ghosts;
* an ERROR event of its watch, other than "too old", ends the whole process;
* replicas that do not lead would watch as well.

No change-detecting handler, timer or daemon is registered either: they put annotations and
finalizers on users' objects. What remains of kopf is what frames a process well.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import aiohttp
import kopf

from sid_operator.kube.client import KubeClient
from sid_operator.kube.kinds import DISTILLATIONS
from sid_operator.kube.login import Credentials, connection
from sid_operator.runtime.controller import Controller, stopped
from sid_operator.runtime.leader import Leader, LeaseSettings
from sid_operator.runtime.queue import WorkQueue
from sid_operator.runtime.scraper import Scraper
from sid_operator.runtime.store import Key
from sid_operator.settings import Settings

logger = logging.getLogger(__name__)


class Operator:
    """The controller within kopf's life cycle.

    Args:
        settings: Of the process.
        stop: Set when the controller ended by itself, so that kopf ends the process.
    """

    def __init__(self, settings: Settings, stop: asyncio.Event) -> None:
        self._settings = settings
        self._stop = stop
        self._sessions: list[aiohttp.ClientSession] = []
        self._task: asyncio.Task[None] | None = None
        self._controller: Controller | None = None

    def registry(self) -> kopf.OperatorRegistry:
        """The registry of kopf with our handlers in it."""
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(self.login)
        permanent = kopf.ErrorsMode.PERMANENT
        kopf.on.startup(registry=registry, errors=permanent)(self.start)
        kopf.on.cleanup(registry=registry, errors=permanent)(self.end)
        kopf.on.probe(registry=registry, id="controller", errors=permanent)(self.probe)
        return registry

    async def login(self, **_: Any) -> kopf.ConnectionInfo:
        """Where the API server is, for kopf's own requests."""
        return connection()

    async def start(self, settings: kopf.OperatorSettings, **_: Any) -> None:
        """Set kopf up and start the controller."""
        settings.posting.enabled = False  # we post our own Events, on transitions
        settings.scanning.disabled = True  # the CRD must be there; saves cluster-wide rights
        settings.peering.standalone = True  # leadership is the Lease's
        settings.networking.request_timeout = self._settings.request_timeout
        self._controller = await self._assembled()
        self._task = asyncio.create_task(self._controller.run(), name="controller")
        self._task.add_done_callback(lambda _: self._stop.set())

    async def end(self, **_: Any) -> None:
        """Stop the controller and give the Lease back."""
        if self._task is not None:
            await stopped(self._task)
        for session in self._sessions:
            await session.close()

    async def probe(self, **_: Any) -> str:
        """Answer the liveness probe; an exception makes it fail."""
        return self._controller.check() if self._controller is not None else "starting"

    def failure(self) -> BaseException | None:
        """What ended the controller, where that was not asked for."""
        task = self._task
        if task is None or not task.done() or task.cancelled():
            return None
        return task.exception()

    async def _assembled(self) -> Controller:
        info, settings = connection(), self._settings
        connector = aiohttp.TCPConnector(ssl=info.as_ssl_context(), limit=0)
        session = aiohttp.ClientSession(connector=connector)
        pods = aiohttp.ClientSession(trust_env=False)
        self._sessions = [session, pods]
        client = KubeClient(
            session,
            str(info.server),
            Credentials(info),
            timeout=settings.request_timeout,
        )
        await _require_crd(client)
        identity = settings.resolved_identity()
        queue: WorkQueue[Key] = WorkQueue()
        scraper = Scraper(
            pods,
            queue.add,
            interval=settings.progress_interval,
            timeout=settings.progress_timeout,
        )
        lease_namespace = settings.lease_namespace or info.default_namespace or "default"
        leader = _leader(client, settings, lease_namespace, identity)
        return Controller(client, queue, scraper, leader, settings, identity=identity)


async def _require_crd(client: KubeClient) -> None:
    if not await client.serves(DISTILLATIONS):
        raise kopf.PermanentError(
            f"the API server does not know {DISTILLATIONS.plural} of {DISTILLATIONS.api_version}: "
            "install the CRD first"
        )


def _leader(client: KubeClient, settings: Settings, namespace: str, identity: str) -> Leader | None:
    if not settings.leader_election:
        return None
    lease = LeaseSettings(
        namespace=namespace,
        name=settings.lease_name,
        identity=identity,
        duration=settings.lease_duration,
        interval=settings.lease_renew_interval,
        deadline=settings.lease_renew_deadline,
    )
    return Leader(client, lease)
