"""A real MinIO for measurements, with its data on this machine's disk."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.minio_server import MinioServer, new_server


@contextmanager
def a_store() -> Iterator[MinioServer]:
    """A running server; its credentials are in the environment meanwhile."""
    with tempfile.TemporaryDirectory() as folder:
        server = new_server(Path(folder))
        server.start()
        before = dict(os.environ)
        os.environ |= server.environ
        try:
            yield server
        finally:
            server.stop()
            for name in server.environ:
                os.environ.pop(name)
            os.environ |= before
