"""A real MinIO on the loopback address, for tests and benchmarks."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import urllib3
from minio import Minio
from minio.error import MinioException

from sid_trainer.config.endpoint import Endpoint
from sid_trainer.storage.retry import Patience
from sid_trainer.storage.s3 import S3Storage
from sid_trainer.storage.s3_client import S3Client, connect
from tests.cluster.local.golang import MINIO, binaries
from tests.cluster.local.settings import default_paths
from tests.loopback import free_port

BUCKET = "runs"


@dataclass
class MinioServer:
    """One server process; its data outlives a stop.

    Attributes:
        program: the server.
        folder: its data and its log.
        port: on the loopback address.
        environ: credentials of its administrator, and ``AWS_REGION`` where it has one.
        settings: further environment variables of its own.
        certificates: folder with ``public.crt``, ``private.key`` and the authority ``ca.crt``; it
            speaks TLS where there is one.
        process: it, while it runs.
    """

    program: Path
    folder: Path
    port: int
    environ: dict[str, str] = field(repr=False)
    settings: dict[str, str] = field(default_factory=dict)
    certificates: Path | None = None
    process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"{'https' if self.certificates else 'http'}://127.0.0.1:{self.port}"

    def start(self) -> None:
        (self.folder / "data" / BUCKET).mkdir(parents=True, exist_ok=True)
        log = (self.folder / "minio.log").open("ab")
        credentials = {
            "MINIO_ROOT_USER": self.environ["AWS_ACCESS_KEY_ID"],
            "MINIO_ROOT_PASSWORD": self.environ["AWS_SECRET_ACCESS_KEY"],
        }
        tls = ["--certs-dir", str(self.certificates)] if self.certificates else []
        address = f"--address=127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            [self.program, "server", "data", address, "--quiet", *tls],
            cwd=self.folder,
            stdout=log,
            stderr=log,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.folder),
                "MINIO_BROWSER": "off",
                "MINIO_UPDATE": "off",
                **credentials,
                **self.settings,
            },
        )
        log.close()
        self._wait_ready()

    @contextlib.contextmanager
    def running(self) -> Iterator[Self]:
        """Started, and stopped in the end."""
        try:
            self.start()
            yield self
        finally:
            self.stop()

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def storage(self, prefix: str, bucket: str = BUCKET, **settings: object) -> S3Storage:
        options = {"environ": self.environ, "patience": Patience(seconds=5.0), **settings}
        return S3Storage(bucket, prefix, self.endpoint, **options)  # type: ignore[arg-type]

    def new_bucket(self) -> str:
        """Make a bucket that no other test has."""
        name = f"bucket-{secrets.token_hex(4)}"
        self.client().make_bucket(name)
        return name

    def client(self, http: urllib3.PoolManager | None = None) -> Minio:
        """The server's own client, beside the storage that is tested."""
        return Minio(
            f"127.0.0.1:{self.port}",
            access_key=self.environ["AWS_ACCESS_KEY_ID"],
            secret_key=self.environ["AWS_SECRET_ACCESS_KEY"],
            secure=self.certificates is not None,
            region=self.environ.get("AWS_REGION"),
            http_client=http or self.http(),
        )

    def http(self, timeout: float = 30.0) -> urllib3.PoolManager:
        """Connections that trust the server's own authority."""
        authority = str(self.certificates / "ca.crt") if self.certificates else None
        return urllib3.PoolManager(timeout=timeout, retries=False, ca_certs=authority)

    def sdk(self) -> S3Client:
        """Single requests, as the storage sends them."""
        return connect(Endpoint(self.endpoint), self.environ)

    def _wait_ready(self) -> None:
        """Wait for a true answer: a server that calls itself ready may let the first one hang."""
        deadline = time.monotonic() + 60
        client = self.client(self.http(timeout=1.0))
        while time.monotonic() < deadline:
            with contextlib.suppress(urllib3.exceptions.HTTPError, MinioException):
                if client.bucket_exists(BUCKET):
                    return
            time.sleep(0.05)
        raise TimeoutError((self.folder / "minio.log").read_text()[-2000:])


def new_server(folder: Path) -> MinioServer:
    """A server that is not started yet, with no data in ``folder`` and random credentials."""
    program = binaries(default_paths().cache, MINIO) / "minio"
    environ = {
        "AWS_ACCESS_KEY_ID": secrets.token_hex(10),
        "AWS_SECRET_ACCESS_KEY": secrets.token_hex(20),
    }
    return MinioServer(program, folder, free_port(), environ)
