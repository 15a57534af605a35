"""Storage in an S3 bucket: MinIO, AWS and whatever else speaks the protocol.

Rules this module keeps:

* Credentials come from the environment and go nowhere else: no message, no log, no file.
* Every error names the bucket or object and the endpoint, and tells what to do about it.
* Large objects go up in parts, in parallel; a part is retried by itself, the whole only after that.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from urllib.parse import urlsplit

import certifi
import urllib3
from minio import Minio
from minio.deleteobjects import DeleteObject
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError

from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.storage.base import (
    MAX_SMALL_OBJECT,
    ObjectInfo,
    safe_key,
    safe_prefix,
    too_large,
)
from sid_trainer.storage.file import replacing
from sid_trainer.storage.retry import Patience, TransientError, patiently
from sid_trainer.storage.s3_errors import no_answer, not_s3, translated
from sid_trainer.storage.whole_heads import WholeHeads

AWS_ENDPOINT = "https://s3.amazonaws.com"
PART_BYTES = 32 * 2**20
"""Size of a part: large enough for full speed, small enough to retry; 10,000 parts are 312 GiB."""
MAX_PARTS = 10_000
CONNECT_SECONDS = 4.0
READ_SECONDS = 30.0

Result = TypeVar("Result")


class S3Storage:
    """Objects under ``s3://bucket/prefix``.

    Args:
        bucket: Name of the bucket; it must exist.
        prefix: Folder in it; may be empty.
        endpoint: URL of the server, or None for AWS.
        environ: Where the credentials are read: ``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``,
            ``AWS_SESSION_TOKEN``, and ``AWS_REGION`` where the server cares.
        patience: How long a server that does not answer is asked again.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        endpoint: str | None = None,
        environ: Mapping[str, str] | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._bucket, self._prefix = bucket, prefix
        self._endpoint = (endpoint or AWS_ENDPOINT).rstrip("/")
        self._patience = patience or Patience()
        self._client = _client(self._endpoint, os.environ if environ is None else environ)

    def uri(self, key: str = "") -> str:
        """``s3://bucket/prefix/key``."""
        return "/".join(part for part in (f"s3://{self._bucket}", self._prefix, key) if part)

    def put_bytes(
        self, key: str, data: bytes, content_type: str = "application/octet-stream"
    ) -> None:
        """Write a small object."""
        self._put(key, lambda: io.BytesIO(data), len(data), content_type)

    def put_stream(self, key: str, open_stream: Callable[[], BinaryIO], size: int) -> None:
        """Write ``size`` bytes of a stream, in parallel parts where it is large."""
        self._put(key, open_stream, size, "application/octet-stream")

    def put_file(self, key: str, path: Path) -> None:
        """Upload a file."""
        self.put_stream(key, lambda: path.open("rb"), path.stat().st_size)

    def get_bytes(self, key: str, max_bytes: int = MAX_SMALL_OBJECT) -> bytes:
        """Read a small object."""

        def read() -> bytes:
            with self._response(key) as response:
                data: bytes = response.read(max_bytes + 1)
                return data

        data = self._ask("read", key, read)
        if len(data) > max_bytes:
            raise too_large(self.uri(key), max_bytes)
        return data

    def get_into(self, key: str, buffer: memoryview) -> int:
        """Read an object into ``buffer``; return its size."""

        def read() -> int:
            filled = 0
            with self._response(key) as response:
                for chunk in response.stream(2**20):
                    if filled + len(chunk) > len(buffer):
                        raise too_large(self.uri(key), len(buffer))
                    buffer[filled : filled + len(chunk)] = chunk
                    filled += len(chunk)
            return filled

        return self._ask("read", key, read)

    def get_range(self, key: str, start: int, buffer: memoryview) -> int:
        """Read from byte ``start`` on into ``buffer``; return how much there was."""

        def read() -> int:
            filled = 0
            try:
                with self._response(key, start, len(buffer)) as response:
                    for chunk in response.stream(2**20):
                        buffer[filled : filled + len(chunk)] = chunk
                        filled += len(chunk)
            except S3Error as error:
                if error.code != "InvalidRange":  # what is told beyond the object's end
                    raise
            return filled

        return self._ask("read", key, read) if len(buffer) else 0

    def get_file(self, key: str, path: Path) -> None:
        """Download an object; the file appears only when it is whole."""

        def read() -> None:
            with self._response(key) as response, replacing(path) as file:
                for chunk in response.stream(2**20):
                    file.write(chunk)

        self._ask("read", key, read)

    def exists(self, key: str) -> bool:
        """Whether the object is there."""
        try:
            self._ask(
                "look for", key, lambda: self._client.stat_object(self._bucket, self._object(key))
            )
        except TrainerError as error:
            if error.reason is FailureReason.NOT_FOUND:
                return False
            raise
        return True

    def list(self, prefix: str = "") -> list[ObjectInfo]:
        """All objects whose key starts with ``prefix``, sorted by key."""
        root = f"{self._prefix}/" if self._prefix else ""
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
        targets = [DeleteObject(self._object(key)) for key in keys]
        if not targets:
            return

        def remove() -> None:
            for error in self._client.remove_objects(self._bucket, iter(targets)):
                name = f"s3://{self._bucket}/{error.name}"
                raise translated(f"delete {name}", name, self._endpoint, error.code, error.message)

        self._ask("delete", "", remove)

    def _put(self, key: str, open_stream: Callable[[], BinaryIO], size: int, kind: str) -> None:
        part = max(PART_BYTES, -(-size // MAX_PARTS))

        def write() -> None:
            with open_stream() as stream:
                self._client.put_object(
                    self._bucket, self._object(key), stream, size, content_type=kind, part_size=part
                )

        self._ask("write", key, write)

    @contextlib.contextmanager
    def _response(self, key: str, start: int = 0, length: int = 0) -> Iterator[Any]:
        """An object's content, or ``length`` bytes of it."""
        response = self._client.get_object(self._bucket, self._object(key), start, length)
        try:
            yield response
        finally:
            response.close()
            response.release_conn()

    def _object(self, key: str) -> str:
        return f"{self._prefix}/{safe_key(key)}" if self._prefix else safe_key(key)

    def _ask(self, verb: str, key: str, operation: Callable[[], Result]) -> Result:
        """Run a request with retries and turn its errors into ours."""
        what = f"{verb} {self.uri(key)}"
        try:
            return patiently(lambda: self._once(what, key, operation), self._patience, what)
        except TransientError as error:
            raise TrainerError(
                FailureReason.STORAGE_UNAVAILABLE,
                f"cannot {what}: the endpoint {self._endpoint} did not answer for "
                f"{self._patience.seconds:.0f} s ({error}); check that the server runs and that "
                "endpoint and network policies let this pod reach it",
            ) from error

    def _once(self, what: str, key: str, operation: Callable[[], Result]) -> Result:
        try:
            return operation()
        except S3Error as error:
            raise translated(
                what, self.uri(key), self._endpoint, error.code, error.message
            ) from error
        except InvalidResponseError as error:
            raise not_s3(what, self._endpoint, str(error)) from error
        except (ServerError, urllib3.exceptions.HTTPError, ConnectionError) as error:
            raise no_answer(what, self._endpoint, error) from error
        except MinioException as error:
            raise TrainerError(
                FailureReason.STORAGE_UNAVAILABLE, f"cannot {what}: {error}"
            ) from error


def _client(endpoint: str, environ: Mapping[str, str]) -> Minio:
    access, secret = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
    if not access or not secret:
        missing = "AWS_SECRET_ACCESS_KEY" if access else "AWS_ACCESS_KEY_ID"
        raise TrainerError(
            FailureReason.ACCESS_DENIED,
            f"no credentials for {endpoint}: the environment variable {missing} is not set; give "
            "the pod a Secret with the keys accessKey and secretKey, or set it in your shell",
        )
    parts = urlsplit(endpoint)
    # Without a region the client asks the server for the bucket's, which only AWS needs.
    region = environ.get("AWS_REGION") or (None if endpoint == AWS_ENDPOINT else "us-east-1")
    return Minio(
        parts.netloc,
        access_key=access,
        secret_key=secret,
        session_token=environ.get("AWS_SESSION_TOKEN") or None,
        secure=parts.scheme == "https",
        region=region,
        http_client=_pool(environ),
    )


def _pool(environ: Mapping[str, str]) -> WholeHeads:
    """Connections with bounded time-outs; parts that fail are sent again, POSTs are not."""
    retries = urllib3.Retry(
        total=2, connect=0, backoff_factor=0.3, backoff_jitter=0.3, status_forcelist=[500, 502, 503]
    )
    return WholeHeads(
        timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
        maxsize=10,
        cert_reqs="CERT_REQUIRED",
        ca_certs=environ.get("SSL_CERT_FILE") or certifi.where(),
        retries=retries,
    )
