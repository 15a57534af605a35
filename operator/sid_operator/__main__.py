"""``python -m sid_operator``: runs the operator until it is told to end."""

from __future__ import annotations

import asyncio
import logging
import sys

import kopf

from sid_operator.handlers import Operator
from sid_operator.settings import Settings, parse

LOG_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


async def serve(settings: Settings) -> None:
    """Run the operator in this event loop until a signal or a failure ends it."""
    stop = asyncio.Event()
    operator = Operator(settings, stop)
    await kopf.operator(
        registry=operator.registry(),
        clusterwide=not settings.namespace,
        namespaces=[settings.namespace] if settings.namespace else [],
        liveness_endpoint=settings.liveness or None,
        standalone=True,
        stop_flag=stop,
    )
    failure = operator.failure()
    if failure is not None:
        raise failure


def main() -> None:
    """Read the settings and run."""
    settings = parse(sys.argv[1:])
    logging.basicConfig(level=settings.log_level, format=LOG_FORMAT, stream=sys.stderr)
    asyncio.run(serve(settings))


if __name__ == "__main__":
    main()
