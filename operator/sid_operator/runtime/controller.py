"""Puts the parts together: leadership, then informers, then workers.

Rules this module keeps:

* Nothing is watched or changed before this process leads; when it leads no longer, it changes
  nothing more and ends at once (``os._exit``): a pass may be anywhere, and another process may act
  already.
* Workers start when every cache was filled, so that nothing looks missing that is only unseen.
* No error of one resource ends the process; a task that dies by an error nobody foresaw does.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import time

from sid_operator import logs, reasons
from sid_operator.api.names import LABEL_DISTILLATION
from sid_operator.kube import errors
from sid_operator.kube.client import KubeClient
from sid_operator.kube.kinds import DISTILLATIONS, NODES, Kind
from sid_operator.metrics.runs import RunCollector
from sid_operator.metrics.work import WorkMetrics
from sid_operator.plan.nodes import LABEL_MEMORY
from sid_operator.resources.run import Installed
from sid_operator.runtime.caches import Caches
from sid_operator.runtime.health import UnhealthyError, Watchdog
from sid_operator.runtime.informer import Informer, Watched
from sid_operator.runtime.leader import Leader
from sid_operator.runtime.nodes import Gathered
from sid_operator.runtime.queue import WorkQueue
from sid_operator.runtime.reconciler import Reconciler
from sid_operator.runtime.recorder import Recorder
from sid_operator.runtime.scraper import Scraper
from sid_operator.runtime.store import Key
from sid_operator.runtime.teller import StatusRefusedError
from sid_operator.settings import Settings

logger = logging.getLogger(__name__)

LOST_LEADERSHIP_EXIT_CODE = 3
SILENT_WATCHES_FACTOR = 2.4
"""Watches may fail for so many times their silence limit: the API server may be away a while."""


class Controller:
    """The whole controller.

    Args:
        client: Asks the API server.
        queue: The resources that need another look.
        scraper: Asks the pods; made with :meth:`WorkQueue.add` of the queue.
        leader: Candidate for the Lease, or None to act without.
        settings: Of the process.
        metrics: Counts the work.
    """

    def __init__(
        self,
        client: KubeClient,
        queue: WorkQueue[Key],
        scraper: Scraper,
        leader: Leader | None,
        settings: Settings,
        *,
        metrics: WorkMetrics,
    ) -> None:
        self._settings = settings
        self._leader = leader
        if leader is not None:
            client.fence(lambda: leader.leading)
        self._queue = queue
        self._scraper = scraper
        self._metrics = metrics
        self._metrics.follow_queue(queue.__len__)
        caches = Caches()
        self._metrics.registry.register(RunCollector(caches.resources.all))
        self._reconciler = Reconciler(
            client,
            caches,
            scraper,
            Recorder(client, settings.identity),
            default=Installed(settings.default_image, settings.pull_secrets(), settings.room_check),
        )
        self._informers = [
            Informer(
                client,
                kind,
                store,
                queue.add,
                watched=_watched(settings, kind),
                failed=self._metrics.watch_failed,
            )
            for kind, store in caches.by_kind().items()
        ]
        self._caches = caches
        self._node_informers = [self._node_informer(client)] if settings.read_nodes else []
        self._at_work: Watchdog[Key] = Watchdog()
        self._acting = False

    async def run(self) -> None:
        """Lead and act until cancelled."""
        try:
            if self._leader is not None:
                await self._leader.acquire()
            async with asyncio.TaskGroup() as group:
                if self._leader is not None:
                    group.create_task(self._keep_leading(self._leader), name="leader")
                informers = [*self._informers, *self._node_informers]
                for informer in informers:
                    group.create_task(informer.run(), name=f"informer {informer.kind.plural}")
                await asyncio.gather(*(informer.synced.wait() for informer in informers))
                self._acting = True
                self._metrics.leading(acts=True)
                logger.info("all caches are filled; %d resources", len(self._queue))
                for number in range(self._settings.workers):
                    group.create_task(self._work(), name=f"worker {number}")
        finally:
            self._acting = False
            self._metrics.leading(acts=False)
            await self._scraper.close()
            if self._leader is not None:
                await self._leader.release()

    def check(self) -> str:
        """What the process does, in a word.

        Raises:
            UnhealthyError: It is stuck.
        """
        if not self._acting:
            return "waiting for leadership or for the first listings"
        stuck = self._at_work.older_than(2 * self._settings.pass_timeout)
        if stuck:
            raise UnhealthyError(f"passes hang: {', '.join(map(str, stuck))}")
        limit = time.monotonic() - SILENT_WATCHES_FACTOR * self._settings.watch_silence
        silent = [i.kind.plural for i in self._informers if i.last_contact < limit]
        if silent:
            raise UnhealthyError(f"nothing heard for long of {', '.join(silent)}")
        return "acting"

    def _node_informer(self, client: KubeClient) -> Informer:
        """Nodes may be forbidden: the operator does without them."""
        nodes, changed = self._caches.nodes, Gathered(self._look_at_gpu_runs)

        def notify(node: Key) -> None:
            if self._acting:  # else every resource is looked at anyway
                changed(node)

        return Informer(
            client,
            NODES,
            nodes,
            notify,
            watched=dataclasses.replace(
                _watched(self._settings, NODES), namespace="", labels=LABEL_MEMORY
            ),
            failed=self._metrics.watch_failed,
            forbidden=lambda: nodes.unknown(reasons.NODES_FORBIDDEN),
        )

    def _look_at_gpu_runs(self) -> None:
        for key in self._caches.unfinished_on_gpus():
            self._queue.add(key)

    async def _keep_leading(self, leader: Leader) -> None:
        await leader.keep()
        os._exit(LOST_LEADERSHIP_EXIT_CODE)

    async def _work(self) -> None:
        while True:
            key = await self._queue.get()
            self._at_work.started(key)
            try:
                with logs.about(*key):
                    await self._pass(key)
            finally:
                self._at_work.forget(key)

    async def _pass(self, key: Key) -> None:
        since, result = time.monotonic(), "done"
        try:
            async with asyncio.timeout(self._settings.pass_timeout):
                look_again_after = await self._reconciler.reconcile(key)
        except errors.ConflictError as error:
            # Our version was old; the watch brings the new one.
            logger.debug("%s", error)
            self._queue.failed(key)
            result = "conflict"
        except (errors.KubeError, TimeoutError) as error:
            wait = self._queue.failed(key)
            problem = str(error) or f"the pass took over {self._settings.pass_timeout:.0f} s"
            logger.warning("%s; again in %.1f s", problem, wait)
            result = "error"
        except StatusRefusedError as error:
            wait = self._queue.failed(key)
            logger.warning("%s; again in %.1f s", error, wait)
            result = "refused"
        except Exception:
            wait = self._queue.failed(key)
            logger.exception("this is a bug of the operator; again in %.1f s", wait)
            result = "bug"
        else:
            self._queue.done(key, look_again_after=look_again_after)
        self._metrics.passed(result, time.monotonic() - since)


def _watched(settings: Settings, kind: Kind) -> Watched:
    return Watched(
        namespace=settings.namespace,
        labels="" if kind is DISTILLATIONS else LABEL_DISTILLATION,
        duration=settings.watch_duration,
        silence=settings.watch_silence,
    )
