"""Requests whose answer is lost, and bodies that break off: done once, and whole."""

from __future__ import annotations

import http.client
import io
import os
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.storage.parts import PART_BYTES
from sid_trainer.storage.retry import Patience
from sid_trainer.storage.s3 import S3Storage
from tests.integration.trainer.faults.proxy import FaultProxy
from tests.integration.trainer.faults.schedule import Fault, Kind
from tests.minio_server import BUCKET, MinioServer

TWO_PARTS = os.urandom(2**20) * (PART_BYTES // 2**20 + 1)
LOST = Fault(Kind.RESET_ANSWER, share=0.0, seconds=0.0, target=0)
CUT = Fault(Kind.TRUNCATED, share=0.6, seconds=0.0, target=0)


@dataclass(frozen=True)
class At:
    """The faults of certain requests, counted from 1."""

    faults: Mapping[int, Fault]

    def at(self, number: int) -> Fault | None:
        return self.faults.get(number)


def through(proxy: FaultProxy, server: MinioServer, prefix: str) -> S3Storage:
    url = f"http://127.0.0.1:{proxy.port}"
    return S3Storage(BUCKET, prefix, url, server.environ, Patience(seconds=20.0, first_delay=0.02))


@pytest.mark.parametrize("lost", [1, 2, 3, 4], ids=["begin", "part", "other part", "end"])
def test_an_upload_is_done_whichever_answer_is_lost(
    minio: MinioServer, prefix: str, lost: int
) -> None:
    with FaultProxy(minio.port, At({lost: LOST})) as proxy:
        through(proxy, minio, prefix).put_stream("x", lambda: io.BytesIO(TWO_PARTS), len(TWO_PARTS))
        assert proxy.faults == {Kind.RESET_ANSWER: 1}
    assert minio.storage(prefix).get_bytes("x") == TWO_PARTS
    assert minio.storage(prefix).begun_uploads(["x"]) == [], "the repeated beginning is removed"


def test_an_upload_that_fails_leaves_nothing(minio: MinioServer, prefix: str) -> None:
    storage = minio.storage(prefix)
    with pytest.raises(OSError, match="stream ended"):
        storage.put_stream("x", lambda: io.BytesIO(TWO_PARTS[:-1]), len(TWO_PARTS))
    assert storage.list() == []
    assert storage.begun_uploads(["x"]) == []


def test_an_upload_that_somebody_removes_begins_anew(minio: MinioServer, prefix: str) -> None:
    storage, opened = minio.storage(prefix), []

    class Removing(io.BytesIO):
        """Its second part is read when the upload is gone."""

        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() and len(opened) == 1:
                storage.give_up(storage.begun_uploads(["x"]))
            return super().read(size)

    def open_stream() -> io.BytesIO:
        opened.append(True)
        return Removing(TWO_PARTS)

    storage.put_stream("x", open_stream, len(TWO_PARTS))
    assert len(opened) == 2
    assert storage.get_bytes("x") == TWO_PARTS


def test_a_conditional_write_recognises_its_own_object(minio: MinioServer, prefix: str) -> None:
    with FaultProxy(minio.port, At({1: LOST, 4: LOST})) as proxy:
        storage = through(proxy, minio, prefix)
        assert storage.put_if("x", b"mine", None, "text/plain")
        assert proxy.requests == 3, "written, refused, looked at"
        etag = minio.storage(prefix).list("x")[0].etag
        assert storage.put_if("x", b"mine too", etag, "text/plain")
        assert proxy.requests == 6
        assert not storage.put_if("x", b"not any more", etag, "text/plain")
        assert not storage.put_if("x", b"not new", None, "text/plain")
        assert not storage.put_if("absent", b"", etag, "text/plain")
    assert minio.storage(prefix).get_bytes("x") == b"mine too"


class Unconditional(BaseHTTPRequestHandler):
    """A store without conditional writes: it says so, and hands all else on to MinIO."""

    port: int

    def do_PUT(self) -> None:
        """Write, where there is no condition."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if "If-None-Match" in self.headers or "If-Match" in self.headers:
            self.answer(501, {}, b"<Error><Code>NotImplemented</Code></Error>")
        else:
            self.hand_on(body)

    def do_HEAD(self) -> None:
        """Look at an object."""
        self.hand_on(b"")

    def hand_on(self, body: bytes) -> None:
        """Ask MinIO."""
        store = http.client.HTTPConnection("127.0.0.1", self.port)
        try:
            store.request(self.command, self.path, body, dict(self.headers))
            found = store.getresponse()
            self.answer(found.status, dict(found.getheaders()), found.read())
        finally:
            store.close()

    def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        """Answer as the store did."""
        self.send_response_only(status)
        for name, value in ({"Content-Type": "application/xml"} | headers).items():
            if name.lower() not in ("content-length", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_a_store_without_conditions_is_looked_at_before_the_write(
    minio: MinioServer, prefix: str
) -> None:
    Unconditional.port = minio.port
    with ThreadingHTTPServer(("127.0.0.1", 0), Unconditional) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        storage = S3Storage(BUCKET, prefix, url, minio.environ, Patience(seconds=1.0))
        assert storage.put_if("x", b"first", None, "text/plain")
        assert not storage.put_if("x", b"second", None, "text/plain")
        etag = minio.storage(prefix).list("x")[0].etag
        assert storage.put_if("x", b"third", etag, "text/plain")
        assert not storage.put_if("x", b"fourth", etag, "text/plain")
        server.shutdown()
        thread.join()
    assert minio.storage(prefix).get_bytes("x") == b"third"


@pytest.mark.parametrize("kind", [Kind.TRUNCATED, Kind.RESET_ANSWER])
def test_a_read_goes_on_where_it_broke_off(
    minio: MinioServer, prefix: str, tmp_path: Path, kind: Kind
) -> None:
    cut = Fault(kind, share=0.6, seconds=0.0, target=0)
    data = secrets.token_bytes(5 * 2**20)
    minio.storage(prefix).put_bytes("x", data)
    part = bytearray(3 * 2**20)
    reads: list[Callable[[S3Storage], object]] = [
        lambda storage: storage.get_bytes("x"),
        lambda storage: storage.get_range("x", 2**20, memoryview(part)),
        lambda storage: storage.get_file("x", tmp_path / "x"),
    ]
    for read in reads:
        with FaultProxy(minio.port, At({1: cut, 2: cut})) as proxy:
            read(through(proxy, minio, prefix))
            assert proxy.requests == 3
    assert data == (tmp_path / "x").read_bytes()
    assert part == data[2**20 : 4 * 2**20]


def test_a_read_does_not_mix_two_objects(minio: MinioServer, prefix: str) -> None:
    direct = minio.storage(prefix)
    old, new = secrets.token_bytes(2**21), secrets.token_bytes(2**21)
    direct.put_bytes("x", old)

    class Swapping:
        """The read breaks off, and another object is there when it goes on."""

        def at(self, number: int) -> Fault | None:
            if number == 2:
                direct.put_bytes("x", new)
            return CUT if number == 1 else None

    with FaultProxy(minio.port, Swapping()) as proxy:
        assert through(proxy, minio, prefix).get_bytes("x") == new


def test_a_large_answer_ends_the_read_at_once(minio: MinioServer, prefix: str) -> None:
    minio.storage(prefix).put_bytes("x", b"1" * 2**20)
    with FaultProxy(minio.port, At({})) as proxy:
        with pytest.raises(TrainerError) as raised:
            through(proxy, minio, prefix).get_bytes("x", 1000)
        assert proxy.requests == 1
    assert raised.value.reason is FailureReason.INVALID_DATA
