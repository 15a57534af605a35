"""Small HTTP servers: both families of addresses, health as probes read it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web

from sid_operator import serving as module
from sid_operator.assembly import assembled
from sid_operator.handlers import stopped
from sid_operator.runtime.health import UnhealthyError, probe
from sid_operator.serving import ANY_ADDRESS, listeners, serving
from sid_operator.settings import Settings
from tests.loopback import there
from tests.unit.operator.fake_api import kubeconfig

LOOPBACK = ("127.0.0.1", "::1")
ELSEWHERE = "192.0.2.1"
"""An address of documentation, which no machine has."""
DEPLOYMENT = Path(__file__).parents[3] / "charts/sid-operator/templates/deployment.yaml"


async def hello(_: web.Request) -> web.Response:
    return web.Response(text="hello")


async def test_without_a_host_either_family_is_answered(
    unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On loopback in place of all addresses."""
    assert {socket.getaddrinfo(one, None)[0][0] for one in ANY_ADDRESS} == {
        socket.AF_INET,
        socket.AF_INET6,
    }
    monkeypatch.setattr(module, "ANY_ADDRESS", LOOPBACK)
    asked = [one for one in LOOPBACK if there(one)]
    assert asked
    url = f"http://:{unused_tcp_port}/hello"
    async with serving(hello, url), aiohttp.ClientSession() as session:
        for address in asked:
            host = f"[{address}]" if ":" in address else address
            async with session.get(f"http://{host}:{unused_tcp_port}/hello") as response:
                assert await response.text() == "hello"


def test_an_address_that_the_machine_lacks_is_left_out() -> None:
    (listener,) = listeners([ELSEWHERE, "127.0.0.1"], 0)
    with listener:
        assert listener.getsockname()[0] == "127.0.0.1"
    with pytest.raises(OSError, match="no address to listen on"):
        listeners([ELSEWHERE], 0)


def test_a_port_that_is_taken_is_an_error(unused_tcp_port: int) -> None:
    with (
        socket.create_server(("127.0.0.1", unused_tcp_port)),
        pytest.raises(OSError, match="in use"),
    ):
        listeners(["127.0.0.1"], unused_tcp_port)


def test_in_a_pod_every_address_is_listened_on() -> None:
    urls = re.findall(r'value: "(http:[^"]+)"', DEPLOYMENT.read_text())
    told = [url.replace("{{ .Values.metrics.port }}", "8081") for url in urls]
    assert [urlsplit(url).hostname for url in told] == [None, None]
    assert [urlsplit(url).port for url in told] == [8080, 8081]


async def test_a_probe_fails_while_something_is_stuck(unused_tcp_port: int) -> None:
    stuck: list[str] = []

    def check() -> str:
        if stuck:
            raise UnhealthyError(f"passes hang: {', '.join(stuck)}")
        return "acting"

    url = f"http://127.0.0.1:{unused_tcp_port}/healthz"
    async with serving(probe(check), url), aiohttp.ClientSession() as session:
        for status, told in ((200, "acting"), (500, "passes hang: team/run")):
            async with session.get(url) as response:
                assert (response.status, await response.json()) == (status, {"controller": told})
            stuck.append("team/run")


async def test_health_is_told_while_the_api_server_says_nothing(
    unused_tcp_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a start would be given up for it, and the next one come later each time."""
    silent = socket.create_server(("127.0.0.1", 0))
    configuration = kubeconfig(f"http://127.0.0.1:{silent.getsockname()[1]}")
    (tmp_path / "kubeconfig").write_text(json.dumps(configuration))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    url = f"http://127.0.0.1:{unused_tcp_port}/healthz"
    starting = assembled(Settings(liveness=url, leader_election=False))
    start = asyncio.create_task(starting.__aenter__())
    try:
        async with asyncio.timeout(10), aiohttp.ClientSession() as session:
            while True:
                with contextlib.suppress(aiohttp.ClientConnectionError):
                    async with session.get(url) as response:
                        assert response.status == 200
                        break
                await asyncio.sleep(0.01)
        assert not start.done()
    finally:
        await stopped(start)
        silent.close()


async def test_without_a_url_nothing_is_served(
    unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    listening: list[tuple[str, int]] = []
    listen = socket.socket.listen

    def noted(listener: socket.socket, *backlog: int) -> None:
        listening.append(listener.getsockname())
        listen(listener, *backlog)

    monkeypatch.setattr(socket.socket, "listen", noted)
    async with serving(hello, ""):
        assert listening == []
    async with serving(hello, f"http://127.0.0.1:{unused_tcp_port}/hello"):
        assert listening == [("127.0.0.1", unused_tcp_port)]
