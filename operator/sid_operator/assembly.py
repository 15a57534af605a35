"""Makes a controller from settings: connections, client, queue, leader."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator
from importlib.metadata import version

import aiohttp
import kopf

from sid_operator.api.names import OPERATOR
from sid_operator.kube import errors
from sid_operator.kube.client import KubeClient
from sid_operator.kube.kinds import DISTILLATIONS
from sid_operator.kube.login import Credentials, connection
from sid_operator.metrics import server
from sid_operator.metrics.work import WorkMetrics
from sid_operator.runtime import health
from sid_operator.runtime.controller import Controller
from sid_operator.runtime.leader import Leader, LeaseSettings
from sid_operator.runtime.queue import WorkQueue
from sid_operator.runtime.scraper import Scraper
from sid_operator.runtime.store import Key
from sid_operator.serving import serving
from sid_operator.settings import Settings

logger = logging.getLogger(__name__)

USER_AGENT = {"User-Agent": f"{OPERATOR}/{version(OPERATOR)}"}
"""For those who read the API server's audit log; the distribution has the operator's name."""


class NotInstalledError(Exception):
    """The API server does not know the resource."""


@contextlib.asynccontextmanager
async def assembled(settings: Settings) -> AsyncIterator[Controller]:
    """A controller that tells metrics and health; its connections are closed at the end.

    Raises:
        LoginError: There are no credentials.
        NotInstalledError: The CRD is not installed.
        KubeError: The API server refuses to be asked.
    """
    info = connection()
    connector = aiohttp.TCPConnector(ssl=info.as_ssl_context(), limit=0)
    async with (
        aiohttp.ClientSession(connector=connector, headers=USER_AGENT) as session,
        _for_pods() as pods,
    ):
        metrics = WorkMetrics()
        client = KubeClient(
            session,
            str(info.server),
            Credentials(info),
            timeout=settings.request_timeout,
            observe=metrics.requested,
        )
        controller = _controller(settings, info, client, pods, metrics)
        exposition, probe = server.exposition(metrics.registry), health.probe(controller.check)
        async with (
            serving(exposition, settings.metrics, path=server.PATH),
            serving(probe, settings.liveness),
        ):
            await _require_crd(client)
            yield controller


def _for_pods() -> aiohttp.ClientSession:
    """A session that asks pods, which are not trusted: no cookies, nothing is unpacked."""
    return aiohttp.ClientSession(
        trust_env=False, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
    )


def _controller(
    settings: Settings,
    info: kopf.ConnectionInfo,
    client: KubeClient,
    pods: aiohttp.ClientSession,
    metrics: WorkMetrics,
) -> Controller:
    queue: WorkQueue[Key] = WorkQueue()
    scraper = Scraper(
        pods, queue.add, interval=settings.progress_interval, timeout=settings.progress_timeout
    )
    namespace = settings.lease_namespace or info.default_namespace or "default"
    leader = _leader(client, settings, namespace) if settings.leader_election else None
    return Controller(client, queue, scraper, leader, settings, metrics=metrics)


def _leader(client: KubeClient, settings: Settings, namespace: str) -> Leader:
    lease = LeaseSettings(
        namespace=namespace,
        name=settings.lease_name,
        identity=settings.identity,
        duration=settings.lease_duration,
        interval=settings.lease_renew_interval,
        deadline=settings.lease_renew_deadline,
    )
    return Leader(client, lease)


async def _require_crd(client: KubeClient) -> None:
    try:
        served = await client.serves(DISTILLATIONS)
    except (errors.UnreachableError, errors.BusyError) as error:
        # All else waits for it. To end would mean to be started again, ever more slowly.
        logger.warning("the API server does not answer yet: %s", error)
        return
    if not served:
        raise NotInstalledError(
            f"the API server does not know {DISTILLATIONS.plural} of {DISTILLATIONS.api_version}: "
            "install the CRD first"
        )
