"""Asks rank 0 of each running resource for its progress.

Rules this module keeps:

* Rank 0 runs the user's image and is not trusted: it is asked at its pod's IP on one fixed port,
  no redirect is followed, the answer is cut at a fixed size and only parsed, never acted upon.
* Asking happens beside the workers, so that a pod that does not answer holds nobody up; those that
  did not answer in time wait for each other, not the others for them.
* A report belongs to the pod that gave it, and is forgotten with it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp
import pydantic

from sid_operator.plan.model import ScrapeTarget
from sid_operator.runtime.store import Key
from sid_trainer.contract import MAX_PROGRESS_BYTES, PROGRESS_PATH, PROGRESS_PORT, ProgressReport

logger = logging.getLogger(__name__)

MAX_AT_ONCE = 32
"""Requests at a time, over all resources; as many again to pods that did not answer last time."""


@dataclass(slots=True)
class _Subject:
    target: ScrapeTarget
    task: asyncio.Task[None]
    report: ProgressReport | None = None


class Scraper:
    """Holds the newest progress report of each resource it was told to follow.

    Args:
        session: Carries the requests; its owner closes it.
        notify: Called with the resource when its report changed.
        interval: Seconds between two questions to a pod.
        timeout: Seconds that a question may take.
        port: Where rank 0 answers.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        notify: Callable[[Key], None],
        *,
        interval: float,
        timeout: float,
        port: int = PROGRESS_PORT,
    ) -> None:
        self._session = session
        self._notify = notify
        self._interval = interval
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._port = port
        self._subjects: dict[Key, _Subject] = {}
        self._answering = asyncio.Semaphore(MAX_AT_ONCE)
        self._silent = asyncio.Semaphore(MAX_AT_ONCE)

    def report(self, key: Key, pod_uid: str | None) -> ProgressReport | None:
        """The newest report of this pod of the resource."""
        subject = self._subjects.get(key)
        if subject is None or subject.target.pod_uid != pod_uid:
            return None
        return subject.report

    def follow(self, key: Key, target: ScrapeTarget | None) -> None:
        """Ask this pod from now on, in place of any other; None: ask no more."""
        subject = self._subjects.get(key)
        if subject is not None and subject.target == target:
            return
        if subject is not None:
            subject.task.cancel()
            del self._subjects[key]
        if target is not None:
            # The task keeps the context of the pass that made it: its log lines name the resource.
            task = asyncio.create_task(self._run(key, target), name=f"progress of {key}")
            self._subjects[key] = _Subject(target, task)

    async def close(self) -> None:
        """Stop asking."""
        tasks = [subject.task for subject in self._subjects.values()]
        self._subjects.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, key: Key, target: ScrapeTarget) -> None:
        lane = self._answering
        while True:
            async with lane:
                try:
                    report = await self._ask(target.address)
                    lane = self._answering
                except TimeoutError:
                    report, lane = None, self._silent
            subject = self._subjects[key]
            if report is not None and report != subject.report:
                subject.report = report
                self._notify(key)
            await asyncio.sleep(self._interval * random.uniform(0.9, 1.1))

    async def _ask(self, address: str) -> ProgressReport | None:
        url = progress_url(address, self._port)
        try:
            async with self._session.get(
                url, timeout=self._timeout, allow_redirects=False
            ) as response:
                body = await response.content.read(MAX_PROGRESS_BYTES + 1)
                while not response.content.at_eof() and len(body) <= MAX_PROGRESS_BYTES:
                    body += await response.content.read(MAX_PROGRESS_BYTES + 1 - len(body))
                if response.status != 200 or len(body) > MAX_PROGRESS_BYTES:
                    logger.debug("%s: HTTP %d, %d bytes", url, response.status, len(body))
                    return None
            return ProgressReport.model_validate_json(body)
        except TimeoutError:
            logger.debug("%s: no answer in time", url)
            raise
        except (aiohttp.ClientError, OSError, pydantic.ValidationError) as error:
            logger.debug("%s: no progress to be read: %s", url, error)
            return None


def progress_url(address: str, port: int) -> str:
    """Where a pod tells its progress.

    >>> progress_url("fd00::7", 9400)
    'http://[fd00::7]:9400/progress'
    """
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}:{port}{PROGRESS_PATH}"
