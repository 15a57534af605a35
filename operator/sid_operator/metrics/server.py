"""Answers Prometheus, which asks for the metrics over HTTP at ``/metrics``."""

from __future__ import annotations

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from sid_operator.serving import Handler

PATH = "/metrics"


def exposition(registry: CollectorRegistry) -> Handler:
    """The handler that tells what a registry holds."""

    async def handle(request: web.Request) -> web.Response:
        encoder, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encoder(registry), headers={"Content-Type": content_type})

    return handle
