"""Processes by name: one that fails is named, with the last words of its log."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.local import supervisor as module
from tests.cluster.local.components import Component
from tests.cluster.local.errors import ClusterError
from tests.cluster.local.settings import Paths
from tests.cluster.local.supervisor import Supervisor


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    paths = Paths(cache=tmp_path / "cache", run=tmp_path / "run", checkout=tmp_path)
    for directory in (paths.logs, paths.pids):
        directory.mkdir(parents=True)
    started = Supervisor(paths)
    yield started
    started.stop([file.stem for file in paths.pids.iterdir()])


def test_process_that_ends_is_named_with_its_last_words(supervisor: Supervisor) -> None:
    supervisor.start("etcd", ["sh", "-c", "echo address already in use; exit 1"])
    with pytest.raises(ClusterError, match=r"etcd ended(.|\n)*address already in use"):
        supervisor.wait("etcd", lambda: False)


def test_process_that_never_works_is_named_with_its_last_words(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "START_SECONDS", 3.0)
    supervisor.start("kubelet", ["sh", "-c", "echo waiting for a node; exec sleep 60"])
    with pytest.raises(ClusterError, match=r"kubelet works: not within(.|\n)*waiting for a node"):
        supervisor.wait("kubelet", lambda: False)


def test_examined_process_has_a_pid_only_while_it_runs(supervisor: Supervisor) -> None:
    assert supervisor.examine("coredns", lambda: True) == module.Health(
        "coredns", None, works=False
    )
    supervisor.start("coredns", ["sleep", "60"])
    running = supervisor.examine("coredns", lambda: True)
    assert running.works
    assert running.pid is not None
    supervisor.stop(["coredns"])
    assert supervisor.examine("coredns", lambda: True).pid is None


def test_health_is_the_answer_200(supervisor: Supervisor) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/healthz" else 500)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        for path, works in (("/healthz", True), ("/other", False)):
            component = Component(name="x", command=(), health=address + path)
            assert supervisor.is_healthy(component) is works
        server.shutdown()
    assert not supervisor.is_healthy(Component(name="x", command=(), health=f"{address}/healthz"))
