"""Storage in an S3 bucket: MinIO, AWS and whatever else speaks the protocol.

Rules this module keeps:

* Credentials come from the environment and go nowhere else: no message, no log, no file.
* Every error names the bucket or object and the endpoint, and tells what to do about it.
* Large objects go up in parts, in parallel (:mod:`.s3_upload`).
* A read that breaks off goes on where it was, from the same object or not at all.
* A conditional write whose answer was lost recognises its own object (:mod:`.s3_conditional`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import urllib3
from minio.deleteobjects import DeleteObject
from minio.error import MinioException

from sid_trainer.config.endpoint import Server, endpoint_of
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.storage.base import (
    MAX_SMALL_OBJECT,
    BegunUpload,
    ObjectInfo,
    safe_key,
    safe_prefix,
    too_large,
)
from sid_trainer.storage.file import replacing
from sid_trainer.storage.parts import PART_BYTES, parts_of
from sid_trainer.storage.pieces import Pieces, cut
from sid_trainer.storage.retry import Patience, TransientError, patiently
from sid_trainer.storage.s3_client import Body, connect
from sid_trainer.storage.s3_conditional import ConditionalWrite
from sid_trainer.storage.s3_errors import refusal, translated
from sid_trainer.storage.s3_reading import WHOLE, Sink, Span, read_on
from sid_trainer.storage.s3_request import Request
from sid_trainer.storage.s3_server import url_of
from sid_trainer.storage.s3_upload import Target, read_exactly, read_parts, upload_in_parts

Result = TypeVar("Result")


class S3Storage:
    """Objects under ``s3://bucket/prefix``.

    Args:
        bucket: Name of the bucket; it must exist.
        prefix: Folder in it; may be empty.
        endpoint: The server, or its URL; AWS when None.
        environ: Where the credentials are read: ``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``,
            ``AWS_SESSION_TOKEN``, or the variables of a role (:mod:`.s3_keys`); and ``AWS_REGION``,
            ``AWS_CA_BUNDLE`` where the endpoint does not say.
        patience: How long a server that does not answer is asked again.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        endpoint: Server = None,
        environ: Mapping[str, str] | None = None,
        patience: Patience | None = None,
    ) -> None:
        server = endpoint_of(endpoint)
        self._bucket, self._prefix = bucket, prefix
        self._endpoint = url_of(server)
        self._patience = patience or Patience()
        self._client = connect(server, os.environ if environ is None else environ)

    def uri(self, key: str = "") -> str:
        """``s3://bucket/prefix/key``."""
        return "/".join(part for part in (f"s3://{self._bucket}", self._prefix, key) if part)

    def put_bytes(
        self, key: str, data: bytes, content_type: str = "application/octet-stream"
    ) -> None:
        """Write a small object."""
        name, headers = self._name(key), {"Content-Type": content_type}
        self._ask("write", key, lambda: self._client.put(self._bucket, name, data, headers))

    def put_if(self, key: str, data: bytes, etag: str | None, content_type: str) -> bool:
        """Write a small object if the one there has this etag, or, for None, if there is none."""
        write = ConditionalWrite(self._client, self._bucket, self._name(key), etag, content_type)
        return self._ask("write", key, lambda: write.send(data))

    def put_stream(self, key: str, open_stream: Callable[[], BinaryIO], size: int) -> None:
        """Write ``size`` bytes of a stream, in parallel parts where it is large."""
        if size <= PART_BYTES:
            with open_stream() as stream:
                self.put_bytes(key, read_exactly(stream, size))
            return

        def write() -> None:
            with open_stream() as stream:
                self._upload(key, read_parts(stream, size))

        self._ask("write", key, write)

    def put_buffers(self, key: str, buffers: Sequence[memoryview]) -> None:
        """Write buffers one after the other, from where they lie, in parallel parts."""
        body = Pieces(buffers)
        if len(body) <= PART_BYTES:
            name, headers = self._name(key), {"Content-Type": "application/octet-stream"}
            self._ask("write", key, lambda: self._client.put(self._bucket, name, body, headers))
            return
        lengths = [part.length for part in parts_of(len(body))]
        self._ask("write", key, lambda: self._upload(key, cut(buffers, lengths)))

    def put_file(self, key: str, path: Path) -> None:
        """Upload a file."""
        self.put_stream(key, lambda: path.open("rb"), path.stat().st_size)

    def get_bytes(self, key: str, max_bytes: int = MAX_SMALL_OBJECT) -> bytes:
        """Read a small object."""
        data = bytearray()

        def take(offset: int, chunk: bytes) -> None:
            if offset + len(chunk) > max_bytes:
                raise too_large(self.uri(key), max_bytes)
            data[offset:] = chunk

        self._read(key, take)
        return bytes(data)

    def get_range(self, key: str, start: int, buffer: memoryview) -> int:
        """Read from byte ``start`` on into ``buffer``; return how much there was."""
        return self._read(key, buffer, Span(start, len(buffer))) if len(buffer) else 0

    def get_file(self, key: str, path: Path) -> None:
        """Download an object; the file appears only when it is whole."""
        with replacing(path) as file:

            def take(offset: int, chunk: bytes) -> None:
                if file.tell() != offset:
                    file.seek(offset)
                    file.truncate()
                file.write(chunk)

            self._read(key, take)

    def exists(self, key: str) -> bool:
        """Whether the object is there."""
        name = self._name(key)
        try:
            self._ask("look for", key, lambda: self._client.stat_object(self._bucket, name))
        except TrainerError as error:
            if error.reason is FailureReason.NOT_FOUND:
                return False
            raise
        return True

    def list(self, prefix: str = "") -> list[ObjectInfo]:
        """All objects whose key starts with ``prefix``, sorted by key."""
        root = self._root
        start = root + safe_prefix(prefix)

        def read() -> list[ObjectInfo]:
            found = self._client.list_objects(self._bucket, prefix=start, recursive=True)
            return [
                ObjectInfo(o.object_name.removeprefix(root), o.size or 0, o.etag or "")
                for o in found
                if not o.object_name.endswith("/")  # folder markers that some tools write
            ]

        return sorted(self._ask("list", prefix, read), key=lambda o: o.key)

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; absent ones are no error."""
        targets = [DeleteObject(self._name(key)) for key in keys]
        if not targets:
            return

        def remove() -> None:
            for error in self._client.remove_objects(self._bucket, iter(targets)):
                name = f"s3://{self._bucket}/{error.name}"
                raise refusal(self._asked("delete", name), error.code or "", error.message or "")

        self._ask("delete", "", remove)

    def begun_uploads(self, keys: Iterable[str] = ()) -> Sequence[BegunUpload]:
        """Uploads in parts that have not ended."""
        root = self._root

        def listed(start: str) -> set[BegunUpload]:
            return {
                BegunUpload(name.removeprefix(root), upload)
                for name, upload in self._client.begun_uploads(self._bucket, start)
                if name.startswith(root)
            }

        def read() -> set[BegunUpload]:
            found = listed(root)
            return found if found or self._client.lists_uploads_by_prefix else listed("")

        found = self._ask("list unfinished uploads of", "", read)
        for key in keys:
            name = self._name(key)
            found |= self._ask("list unfinished uploads of", key, partial(listed, name))
        return sorted(found)

    def give_up(self, uploads: Iterable[BegunUpload]) -> None:
        """Remove unfinished uploads with what they have stored."""
        for key, upload in uploads:
            target = Target(self._client, self._bucket, self._name(key))
            self._ask("give up an upload of", key, partial(target.give_up, upload))

    def _upload(self, key: str, bodies: Iterable[Body]) -> None:
        target = Target(self._client, self._bucket, self._name(key))
        upload_in_parts(target, bodies, lambda verb, request: self._ask(verb, key, request))

    def _read(self, key: str, take: Sink, span: Span = WHOLE) -> int:
        """Hand the bytes of an object to ``take``; return how many there are."""
        return read_on(
            lambda part, etag: self._response(key, part, etag),
            take,
            lambda request, got_on: self._ask("read", key, request, got_on),
            span,
        )

    @contextlib.contextmanager
    def _response(self, key: str, span: Span, etag: str) -> Iterator[Any]:
        headers = {"If-Match": etag} if etag else {}
        response = self._client.get_object(
            self._bucket, self._name(key), span.start, span.length, request_headers=headers
        )
        try:
            yield response
        finally:
            response.close()
            response.release_conn()

    @property
    def _root(self) -> str:
        return f"{self._prefix}/" if self._prefix else ""

    def _name(self, key: str) -> str:
        """Name of an object in the bucket."""
        return self._root + safe_key(key)

    def _asked(self, verb: str, uri: str) -> Request:
        client = self._client
        return Request(verb, uri, self._endpoint, client.locates, client.has_role)

    def _ask(
        self,
        verb: str,
        key: str,
        operation: Callable[[], Result],
        got_on: Callable[[], int] = lambda: 0,
    ) -> Result:
        """Run a request with retries and turn its errors into ours."""
        asked = self._asked(verb, self.uri(key))
        try:
            return patiently(
                lambda: _translating(asked, operation), self._patience, str(asked), got_on
            )
        except TransientError as error:
            remedy = error.remedy or (
                "check that the server runs and that endpoint and network policies let this pod "
                "reach it"
            )
            server = error.server or f"the endpoint {self._endpoint}"
            raise TrainerError(
                FailureReason.STORAGE_UNAVAILABLE,
                f"cannot {asked}: {server} did not answer for {self._patience.seconds:.0f} s "
                f"({error}); {remedy}",
            ) from error


def _translating(asked: Request, operation: Callable[[], Result]) -> Result:
    try:
        return operation()
    except (MinioException, urllib3.exceptions.HTTPError, ConnectionError) as error:
        raise translated(asked, error) from error
