"""kopf: login, start-up and clean-up, and signals.

The resource itself is watched by our own informer, as its children are, and not by
``kopf.on.event``:

* kopf tells a handler neither when its first listing is complete nor what vanished while a watch
  was broken, so a cache fed by it keeps ghosts;
* an ERROR event of its watch, other than "too old", ends the whole process;
* replicas that do not lead would watch as well.

No change-detecting handler, timer or daemon is registered either: they put annotations and
finalizers on users' objects. Probes are answered by ourselves, too: kopf listens on one address of
one family only. What remains of kopf is what frames a process well.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import kopf

from sid_operator.kube.login import connection
from sid_operator.runtime.controller import Controller

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
        # Errors are permanent: a start is not tried for ever.
        permanent = kopf.ErrorsMode.PERMANENT
        kopf.on.startup(registry=registry, errors=permanent)(self.start)
        kopf.on.cleanup(registry=registry, errors=permanent)(self.end)
        return registry

    async def login(self, **_: Any) -> kopf.ConnectionInfo:
        """Where the API server is, for kopf's own requests."""
        return connection()

    async def start(self, settings: kopf.OperatorSettings, **_: Any) -> None:
        """Set kopf up and start the controller."""
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


async def stopped(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait for its end."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
