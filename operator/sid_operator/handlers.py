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

import kopf

from sid_operator.kube.login import connection
from sid_operator.runtime.controller import Controller, stopped
from sid_operator.runtime.health import UnhealthyError

OUTAGE = (1.0, 2.0, 4.0, *[8.0] * 450)
"""Pauses between kopf's tries of a request: an API server may be away for an hour."""


class Handlers:
    """The controller within kopf's life cycle.

    Args:
        controller: Runs from kopf's start-up to its clean-up.
        request_timeout: Seconds that an API request of kopf may take.
        stop: Set when the controller ends by itself, so that kopf ends the process.
    """

    def __init__(
        self, controller: Controller, *, request_timeout: float, stop: asyncio.Event
    ) -> None:
        self._controller = controller
        self._request_timeout = request_timeout
        self._stop = stop
        self._task: asyncio.Task[None] | None = None

    def registry(self) -> kopf.OperatorRegistry:
        """The registry of kopf with these handlers in it."""
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(self.login)
        # Errors are permanent: a probe must fail now, and a start not be tried for ever.
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
        logging.getLogger("aiohttp.server").addFilter(_is_news)
        settings.posting.enabled = False  # we post our own Events, on transitions
        settings.scanning.disabled = True  # the CRD must be there; saves cluster-wide rights
        settings.peering.standalone = True  # leadership is the Lease's
        settings.networking.request_timeout = self._request_timeout
        settings.networking.error_backoffs = OUTAGE  # it ends the process when they are used up
        self._task = asyncio.create_task(self._controller.run(), name="controller")
        self._task.add_done_callback(lambda _: self._stop.set())

    async def end(self, **_: Any) -> None:
        """Stop the controller, which gives its Lease back."""
        if self._task is not None:
            await stopped(self._task)

    async def probe(self, **_: Any) -> str:
        """Answer the liveness probe; an exception makes it fail."""
        try:
            return self._controller.check()
        except UnhealthyError as error:
            raise kopf.PermanentError(str(error)) from error  # told in a line, not as a bug


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a line of the probe server tells more than that a probe failed, as kopf does."""
    error = record.exc_info[1] if record.exc_info else None
    return error is None or not isinstance(error.__cause__, kopf.PermanentError)
