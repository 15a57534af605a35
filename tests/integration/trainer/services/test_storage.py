"""Both storages behave alike; S3 errors of a real server name cause and remedy."""

import io
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from urllib3.connection import HTTPConnection

from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.storage import Storage, open_storage
from sid_trainer.storage.file import FileStorage
from sid_trainer.storage.retry import Patience
from sid_trainer.storage.s3 import PART_BYTES, S3Storage


@pytest.fixture(params=["file", "s3", "s3-without-prefix"])
def storage(request: pytest.FixtureRequest, tmp_path: Path, prefix: str) -> Storage:
    if request.param == "file":
        return FileStorage(tmp_path / "run")
    server = request.getfixturevalue("minio")
    if request.param == "s3":
        return server.storage(prefix)
    return server.storage("", server.new_bucket())


def test_objects_are_written_read_listed_and_deleted(storage: Storage, tmp_path: Path) -> None:
    storage.put_bytes("a/one.txt", b"1")
    storage.put_bytes("a/one.txt", b"first")
    storage.put_bytes("a/b/two with space & sign.txt", b"second")
    source = tmp_path / "source"
    source.write_bytes(b"third")
    storage.put_file("three", source)

    assert storage.get_bytes("a/one.txt") == b"first"
    assert [o.key for o in storage.list()] == [
        "a/b/two with space & sign.txt",
        "a/one.txt",
        "three",
    ]
    assert [(o.key, o.size) for o in storage.list("a/o")] == [("a/one.txt", 5)]
    assert storage.list("absent/") == []
    storage.get_file("three", tmp_path / "deep" / "copy")
    assert (tmp_path / "deep" / "copy").read_bytes() == b"third"
    assert storage.exists("a/one.txt")
    storage.delete(["a/one.txt", "never-there"])
    assert not storage.exists("a/one.txt")
    storage.delete([])


def test_etag_follows_the_content(storage: Storage, tmp_path: Path) -> None:
    storage.put_bytes("x", b"1")
    if isinstance(storage, FileStorage):  # whose file system's clock may be coarse
        os.utime(tmp_path / "run" / "x", (1, 1))
    before = storage.list("x")[0].etag
    storage.put_bytes("x", b"2")
    assert storage.list("x")[0].etag != before


def test_reading_is_bounded(storage: Storage) -> None:
    storage.put_bytes("x", b"12345")
    with pytest.raises(TrainerError, match="larger than the 4 bytes"):
        storage.get_bytes("x", max_bytes=4)
    buffer = bytearray(8)
    assert storage.get_range("x", 0, memoryview(buffer)) == 5
    assert buffer == b"12345\0\0\0"


def test_a_part_of_an_object_is_read(storage: Storage) -> None:
    storage.put_bytes("x", b"12345")
    for start, length, expected in ((0, 2, b"12"), (3, 8, b"45"), (5, 1, b""), (2, 0, b"")):
        buffer = bytearray(length)
        assert storage.get_range("x", start, memoryview(buffer)) == len(expected)
        assert buffer[: len(expected)] == expected
    with pytest.raises(TrainerError, match=r"no/such( at \S+)? does not exist"):
        storage.get_range("no/such", 0, memoryview(bytearray(1)))


def test_one_connection_serves_one_request_after_the_other(
    minio: Any, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect, made = HTTPConnection.connect, []

    def connected(connection: HTTPConnection) -> None:
        made.append(connection)
        connect(connection)

    monkeypatch.setattr(HTTPConnection, "connect", connected)
    storage = minio.storage(prefix)
    storage.put_bytes("x", bytes(3 * 2**20))
    for start in (0, 5, 2 * 2**20, 3 * 2**20):  # nothing is left to read after the last
        storage.get_range("x", start, memoryview(bytearray(2**20)))
    assert len(storage.get_bytes("x")) == 3 * 2**20
    assert storage.exists("x")
    assert [found.key for found in storage.list()] == ["x"]
    assert len(made) == 1


def test_an_absent_object_is_named(storage: Storage) -> None:
    with pytest.raises(TrainerError, match=r"no/such( at \S+)? does not exist") as raised:
        storage.get_bytes("no/such")
    assert raised.value.reason is FailureReason.NOT_FOUND


@pytest.mark.parametrize("key", ["", "/x", "../x", "a/../b", "a//b", "a/", "./a", "a\\b", "a\nb"])
def test_keys_cannot_leave_the_folder(storage: Storage, key: str) -> None:
    for use in (
        storage.get_bytes,
        lambda k: storage.put_bytes(k, b""),
        lambda k: storage.delete([k]),
    ):
        with pytest.raises(ValueError, match="object key"):
            use(key)


def test_large_objects_go_up_in_parts(minio: Any, prefix: str) -> None:
    storage = minio.storage(prefix)
    data = os.urandom(2**20) * (2 * PART_BYTES // 2**20) + b"end"
    opened = []

    def open_stream() -> io.BytesIO:
        opened.append(True)
        return io.BytesIO(data)

    storage.put_stream("large", open_stream, len(data))
    buffer = bytearray(len(data))
    assert storage.get_range("large", 0, memoryview(buffer)) == len(data)
    assert buffer == data
    assert len(opened) == 1
    assert storage.list("large")[0].etag.endswith("-3"), "three parts"


@pytest.mark.parametrize("sizes", [[], [3, 0, 4], [5, 2 * PART_BYTES, 7, PART_BYTES]])
def test_buffers_are_written_from_where_they_lie(storage: Storage, sizes: list[int]) -> None:
    pattern = os.urandom(2**16 + 1)
    pieces = [memoryview((pattern * (size // len(pattern) + 1))[:size]) for size in sizes]
    storage.put_buffers("x", pieces)
    buffer = bytearray(sum(sizes) + 1)
    assert storage.get_range("x", 0, memoryview(buffer)) == sum(sizes)
    assert buffer[:-1] == b"".join(pieces)


def test_a_killed_writer_leaves_nothing_to_see(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path / "run")

    class Broken(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, target: object) -> int:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        storage.put_stream("x", Broken, 10)  # type: ignore[arg-type]
    assert storage.list() == []


def test_wrong_credentials_are_denied_without_showing_them(minio: Any) -> None:
    environ = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "a-wrong-secret"}
    storage = minio.storage("x", environ=environ)
    with pytest.raises(TrainerError, match="does not know this access key") as raised:
        storage.put_bytes("x", b"")
    assert raised.value.reason is FailureReason.ACCESS_DENIED
    assert "a-wrong-secret" not in str(raised.value)


def test_a_wrong_secret_key_is_denied(minio: Any) -> None:
    environ = {**minio.environ, "AWS_SECRET_ACCESS_KEY": "a-wrong-secret"}
    with pytest.raises(TrainerError, match="SignatureDoesNotMatch") as raised:
        minio.storage("x", environ=environ).list()
    assert raised.value.reason is FailureReason.ACCESS_DENIED


@pytest.mark.parametrize("environ", [{}, {"AWS_ACCESS_KEY_ID": "a"}])
def test_missing_credentials_are_named(environ: dict[str, str]) -> None:
    with pytest.raises(TrainerError, match=r"AWS_[A-Z_]+ is not set") as raised:
        S3Storage("runs", "", "http://127.0.0.1:9", environ)
    assert raised.value.reason is FailureReason.ACCESS_DENIED


def test_an_absent_bucket_is_named(minio: Any) -> None:
    storage = S3Storage("nowhere", "x", minio.endpoint, minio.environ)
    for use in (storage.list, lambda: storage.get_bytes("k"), lambda: storage.put_bytes("k", b"")):
        with pytest.raises(TrainerError, match="bucket s3://nowhere") as raised:
            use()
        assert raised.value.reason is FailureReason.NOT_FOUND


def test_an_unreachable_endpoint_is_told_soon(minio: Any) -> None:
    storage = S3Storage("runs", "x", "http://127.0.0.1:9", minio.environ, Patience(seconds=2.0))
    began = time.monotonic()
    with pytest.raises(TrainerError, match=r"http://127\.0\.0\.1:9 did not answer") as raised:
        storage.list()
    assert time.monotonic() - began < 30
    assert raised.value.reason is FailureReason.STORAGE_UNAVAILABLE


def test_tls_on_a_plain_port_is_told_at_once(minio: Any) -> None:
    endpoint = minio.endpoint.replace("http", "https")
    storage = S3Storage("runs", "x", endpoint, minio.environ)
    with pytest.raises(TrainerError, match="use http://"):
        storage.list()


def test_a_server_that_comes_back_is_waited_for(minio_factory: Callable[[], Any]) -> None:
    server = minio_factory()
    storage = server.storage("x", patience=Patience(seconds=30.0))
    storage.put_bytes("k", b"kept")
    server.stop()
    timer = threading.Timer(1.0, server.start)
    timer.start()
    assert storage.get_bytes("k") == b"kept"
    timer.join()


def test_uris_are_opened_literally(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_storage(f"file://{tmp_path}/a%20b").uri("x/y") == f"file://{tmp_path}/a%20b/x/y"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    assert open_storage("s3://bucket/a/b/").uri("k") == "s3://bucket/a/b/k"
    assert open_storage("s3://bucket").uri() == "s3://bucket"
    for wrong in ("s3://", "http://x/y", "s3://bucket/a/../b"):
        with pytest.raises(TrainerError) as raised:
            open_storage(wrong)
        assert raised.value.reason is FailureReason.INVALID_CONFIGURATION
