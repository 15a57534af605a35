"""What the operator asks of a real API server, and what it notices when the server falls silent.

Nodes are not needed for it: a control plane of its own is up in seconds.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sid_operator.crd.document import custom_resource_definition
from sid_operator.kube.kinds import CONFIG_MAPS, DISTILLATIONS
from tests.cluster.control_plane.api import Api, connected
from tests.cluster.control_plane.operator import (
    complaints,
    operating,
    operating_beside,
    rewritten,
)
from tests.cluster.control_plane.plane import ControlPlane, running
from tests.cluster.control_plane.proxy import proxied
from tests.cluster.scale.audit import AuditLog, Request, on_behalf
from tests.cluster.scale.ours import USER, manifest
from tests.loopback import free_port

pytestmark = pytest.mark.cluster

Object = dict[str, Any]
SECONDS = 60.0


@dataclass(frozen=True)
class Place:
    """A namespace of a control plane that serves the resource.

    Attributes:
        log: Of the operators.
        audit: Tells what was asked from the beginning of the test on.
    """

    plane: ControlPlane
    api: Api
    namespace: str
    log: Path
    audit: AuditLog

    @property
    def serving(self) -> tuple[str, ...]:
        """Arguments of an operator that serves this namespace."""
        return ("--namespace", self.namespace, "--lease-namespace", self.namespace)

    async def create(self, name: str) -> Object:
        """Create a resource."""
        return await self.api.demand("POST", DISTILLATIONS.path(self.namespace), manifest(name))

    async def accepted(self, name: str) -> None:
        """Wait until the operator has accepted a resource."""
        await self.told(name, lambda accepted: accepted["status"] == "True")

    async def told(self, name: str, wanted: Callable[[Object], bool]) -> Object:
        """Wait until the condition Accepted of a resource is as wanted."""
        path = DISTILLATIONS.path(self.namespace)

        def condition(seen: Object) -> list[Object]:
            conditions = (seen.get("status") or {}).get("conditions") or []
            return [each for each in conditions if each["type"] == "Accepted" and wanted(each)]

        async with asyncio.timeout(SECONDS):
            seen = await self.api.until(
                path, lambda seen: bool(condition(seen)), fieldSelector=f"metadata.name={name}"
            )
        return condition(seen)[0]


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane for the tests of this file."""
    with running(tmp_path_factory.mktemp("plane"), users=(USER,)) as plane:
        yield plane


@pytest.fixture
async def place(plane: ControlPlane, tmp_path: Path) -> AsyncIterator[Place]:
    """A namespace; no operator of it may have met a bug of its own."""
    log, name = tmp_path / "operator.log", f"test-{uuid.uuid4().hex[:8]}"
    async with connected(plane) as api:
        await api.install_crd(custom_resource_definition())
        await api.demand("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        audit = AuditLog(plane.audit)
        audit.news()
        yield Place(plane, api, name, log, audit)
    assert complaints(log) == []


def about(requests: list[Request], name: str) -> list[Request]:
    """Requests that name a resource or its children."""
    return [each for each in requests if each.name.startswith(name)]


async def test_a_resource_costs_five_requests_and_a_restart_no_write(place: Place) -> None:
    with operating(place.plane, place.log, *place.serving, user=USER):
        for number in range(10):
            await place.create(f"run-{number}")
        for number in range(10):
            await place.accepted(f"run-{number}")
    made = on_behalf(place.audit.news({USER}))
    assert len(about(made, "run-")) == 10 * 5
    assert all(each.code in (200, 201) for each in made)
    with operating(place.plane, place.log, *place.serving, user=USER):
        await place.create("later")  # its turn comes after all others, hence a barrier
        await place.accepted("later")
    again = [each for each in on_behalf(place.audit.news({USER})) if each.writes]
    assert len(again) == 5
    assert about(again, "later") == again


async def test_what_bears_the_name_of_a_child_is_not_taken_over(place: Place) -> None:
    foreign = {"metadata": {"name": "run-0-config"}, "data": {"config.yaml": "mine"}}
    before = await place.api.demand("POST", CONFIG_MAPS.path(place.namespace), foreign)
    with operating(place.plane, place.log, *place.serving, user=USER):
        await place.create("run-0")
        refused = await place.told("run-0", lambda accepted: accepted["status"] == "False")
        assert refused["reason"] == "NameConflict"
        path = CONFIG_MAPS.path(place.namespace, "run-0-config")
        assert await place.api.demand("GET", path) == before


async def test_silent_streams_are_noticed_and_opened_again(place: Place) -> None:
    port = int(place.plane.url.rpartition(":")[2])
    async with proxied(port) as (proxy, entrance):
        configuration = rewritten(
            place.plane.kubeconfig(USER), f"https://127.0.0.1:{entrance}", place.log.parent / "k"
        )
        arguments = (*place.serving, "--watch-silence", "2", "--request-timeout", "2")
        async with operating_beside(
            place.plane, place.log, *arguments, kubeconfig=configuration
        ) as operator:
            await place.create("before")
            await place.accepted("before")
            proxy.fall_silent(forever=False)
            await place.create("after")
            await place.accepted("after")
            assert operator.code is None


async def test_liveness_fails_while_the_api_server_is_silent(place: Place) -> None:
    port, probe = int(place.plane.url.rpartition(":")[2]), free_port()
    async with proxied(port) as (proxy, entrance), aiohttp.ClientSession() as session:
        configuration = rewritten(
            place.plane.kubeconfig(USER), f"https://127.0.0.1:{entrance}", place.log.parent / "k"
        )
        url = f"http://127.0.0.1:{probe}/healthz"

        async def answers(code: int) -> None:
            async with asyncio.timeout(SECONDS):
                while True:
                    async with session.get(url) as response:
                        if response.status == code:
                            return
                    await asyncio.sleep(0.2)

        # Without a Lease, which would end the process first.
        lasting = ("--watch-silence", "1", "--leader-election", "no")
        arguments = (*place.serving, "--liveness", url, *lasting)
        async with operating_beside(place.plane, place.log, *arguments, kubeconfig=configuration):
            await answers(200)
            proxy.fall_silent(forever=True)
            await answers(500)
            proxy.speak_again()
            await answers(200)
