"""A component of the local cluster that is away for a while.

Rules this module keeps: it is ended by its own id, and comes back with the very command that it ran
with, whatever happens meanwhile.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.cluster.local import health, pki, process
from tests.cluster.local.settings import API_URL, default_paths
from tests.cluster.local.supervisor import Supervisor

API_SERVER = "kube-apiserver"


@contextlib.contextmanager
def without_api_server() -> Iterator[None]:
    """The API server is stopped for as long as the context lasts; it answers again afterwards."""
    paths = default_paths()
    supervisor = Supervisor(paths)
    record = process.recorded(paths.pids / f"{API_SERVER}.json")
    if record is None or not record.is_alive():
        raise RuntimeError("no API server of the local cluster runs here")
    command = Path(f"/proc/{record.pid}/cmdline").read_text().rstrip("\0").split("\0")
    supervisor.stop([API_SERVER])
    try:
        yield
    finally:
        authority = paths.pki / f"{pki.AUTHORITY}.crt"
        supervisor.start(API_SERVER, command)
        supervisor.wait(API_SERVER, lambda: health.is_healthy(f"{API_URL}/readyz", authority))
