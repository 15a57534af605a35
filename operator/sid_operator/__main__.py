"""``python -m sid_operator``: runs the operator until it is told to end."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any, cast

import kopf

from sid_operator import logs
from sid_operator.assembly import NotInstalledError, assembled
from sid_operator.handlers import Handlers
from sid_operator.kube.errors import KubeError
from sid_operator.kube.login import LoginError
from sid_operator.settings import Settings, parse

logger = logging.getLogger("sid_operator")


async def serve(settings: Settings) -> None:
    """Run the operator in this event loop until a signal or a failure ends it."""
    stop = asyncio.Event()
    async with assembled(settings) as controller:
        handlers = Handlers(controller, request_timeout=settings.request_timeout, stop=stop)
        await kopf.operator(
            registry=handlers.registry(),
            clusterwide=not settings.namespace,
            namespaces=[settings.namespace] if settings.namespace else [],
            standalone=True,
            # By default kopf asks for the user's name, which a container's bare uid has not.
            identity=cast("Any", settings.identity),  # its own type is not public
            stop_flag=stop,
        )


def main() -> int:
    """Read the settings and run; gives the exit code."""
    settings = parse(sys.argv[1:])
    logs.configure(settings.log_level, settings.log_format)
    try:
        asyncio.run(serve(settings))
    except (LoginError, NotInstalledError, KubeError) as error:
        logger.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
