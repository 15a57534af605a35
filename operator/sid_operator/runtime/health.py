"""Health: whether the process still does what it is for.

The probe answers from the event loop, so a blocked loop answers nothing and fails it too. A worker
that hangs, a watch that is not heard of, and a task that died are told here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from aiohttp import web

from sid_operator.serving import Handler

logger = logging.getLogger(__name__)

Subject = TypeVar("Subject", bound=Hashable)


class UnhealthyError(Exception):
    """Something is stuck; the process should be started anew."""


def probe(check: Callable[[], str]) -> Handler:
    """The handler that answers a liveness probe: 200, or 500 where ``check`` raises.

    Args:
        check: Says in a word what the process does, or raises :class:`UnhealthyError`.
    """

    async def handle(_: web.Request) -> web.Response:
        try:
            return web.json_response({"controller": check()})
        except UnhealthyError as error:
            logger.error("not healthy: %s", error)
            return web.json_response({"controller": str(error)}, status=500)

    return handle


class Watchdog(Generic[Subject]):
    """Knows since when each subject is at work."""

    def __init__(self) -> None:
        self._since: dict[Subject, float] = {}

    def started(self, subject: Subject) -> None:
        """The subject is at work from now on."""
        self._since[subject] = time.monotonic()

    def forget(self, subject: Subject) -> None:
        """The subject is at work no more."""
        self._since.pop(subject, None)

    def older_than(self, seconds: float) -> list[Subject]:
        """The subjects that are at work for longer than that."""
        limit = time.monotonic() - seconds
        return [subject for subject, since in self._since.items() if since < limit]
