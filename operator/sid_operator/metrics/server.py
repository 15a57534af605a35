"""Serves the metrics over HTTP at ``/metrics``."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from urllib.parse import urlsplit

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

PATH = "/metrics"


@contextlib.asynccontextmanager
async def serving(registry: CollectorRegistry, url: str) -> AsyncIterator[None]:
    """Serve a registry as long as the block runs; not at all where ``url`` is empty.

    Args:
        registry: What is served.
        url: ``http://address:port``.

    Raises:
        OSError: The address cannot be listened on.
    """
    if not url:
        yield
        return
    app = web.Application()
    app.router.add_get(PATH, _handler(registry))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        place = urlsplit(url)
        await web.TCPSite(runner, place.hostname, place.port).start()
        yield
    finally:
        await runner.cleanup()


def _handler(
    registry: CollectorRegistry,
) -> Callable[[web.Request], Coroutine[None, None, web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        encoder, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encoder(registry), headers={"Content-Type": content_type})

    return handle
