"""What all tests of the trainer's integration share: a node's own cache, and real MinIOs."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

import pytest

from tests.integration.trainer.secure_server import new_secure_server
from tests.minio_server import MinioServer, new_server


@pytest.fixture(scope="session", autouse=True)
def _node_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SID_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def minio_factory(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[], MinioServer]]:
    """Starts servers with fresh data and random credentials; stops them at the end."""
    started: list[MinioServer] = []

    def start() -> MinioServer:
        server = new_server(tmp_path_factory.mktemp("minio"))
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="session")
def minio(minio_factory: Callable[[], MinioServer]) -> MinioServer:
    """The server that tests share; each takes a prefix of its own."""
    return minio_factory()


@pytest.fixture(scope="session")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinioServer]:
    """A server with TLS under an authority, a domain and a region of its own."""
    with new_secure_server(tmp_path_factory.mktemp("secure")).running() as server:
        yield server


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    """A key prefix that no other test has."""
    return f"{request.node.originalname}-{secrets.token_hex(4)}"
