"""Writing a large object in parts, several at a time.

Rules this module keeps:

* Each part is sent again by itself, from memory: of a stream at most :data:`PARALLEL` and one more
  are there, and what lies in memory is sent from where it is.
* Putting the parts together is not idempotent. Where its answer was lost and the upload is gone,
  the object itself tells, by a token, whether it was done.
* An upload that somebody else removed begins anew; one that fails, or that a lost answer left
  behind, is removed, if the store lets us.
"""

from __future__ import annotations

import contextlib
import errno
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, Protocol, TypeVar

import urllib3
from minio.error import MinioException, S3Error

from sid_trainer.contract import TrainerError
from sid_trainer.storage.parts import parts_of
from sid_trainer.storage.retry import TransientError
from sid_trainer.storage.s3_client import Body, S3Client

PARALLEL = 4
"""Parts on their way at a time."""
UPLOAD_TOKEN = "x-amz-meta-sid-upload"  # noqa: S105 - a name
HEADERS = {"Content-Type": "application/octet-stream"}
NO_UPLOAD = "NoSuchUpload"

Result = TypeVar("Result")


class Ask(Protocol):
    """Runs a request as often as patience allows; the verb names it."""

    def __call__(self, verb: str, request: Callable[[], Result]) -> Result:
        """Run it."""


@dataclass(frozen=True)
class Target:
    """An object that is to be written."""

    client: S3Client
    bucket: str
    name: str

    def begin(self, token: str) -> str:
        """Begin an upload."""
        return self.client.begin_upload(self.bucket, self.name, HEADERS | {UPLOAD_TOKEN: token})

    def put(self, upload: str, number: int, body: Body) -> str:
        """Write a part; return its etag."""
        try:
            return self.client.put_part(self.bucket, self.name, upload, number, body)
        except S3Error as error:
            if error.code == NO_UPLOAD:
                raise UploadLostError from error
            raise

    def end(self, upload: str, etags: dict[int, str], token: str) -> None:
        """Put the parts together, if that is not done."""
        try:
            self.client.end_upload(self.bucket, self.name, upload, etags)
        except S3Error as error:
            if error.code != NO_UPLOAD:
                raise
            if not self._is_of(token):
                raise UploadLostError from error

    def give_up(self, upload: str) -> None:
        """Remove an upload; one that is gone is no error."""
        try:
            self.client.give_up_upload(self.bucket, self.name, upload)
        except S3Error as error:
            if error.code != NO_UPLOAD:
                raise

    def begun(self) -> list[str]:
        """Uploads of this object that have not ended."""
        found = self.client.begun_uploads(self.bucket, self.name)
        return [upload for name, upload in found if name == self.name]

    def _is_of(self, token: str) -> bool:
        try:
            found = self.client.stat_object(self.bucket, self.name)
        except S3Error as error:
            if error.code == "NoSuchKey":
                return False
            raise
        return (found.metadata or {}).get(UPLOAD_TOKEN) == token


class UploadLostError(Exception):
    """The server no longer knows the upload: somebody removed it."""


def upload_in_parts(target: Target, bodies: Iterable[Body], ask: Ask) -> None:
    """Write an object of these parts.

    Raises:
        TransientError: the upload was removed on the way; it may begin anew.
        TrainerError: the store refused, or did not answer for too long.
    """
    token, begun = secrets.token_hex(16), 0

    def begin() -> str:
        nonlocal begun
        begun += 1
        return target.begin(token)

    upload = ask("write", begin)
    try:
        etags = _send(target, upload, bodies, ask)
        ask("write", lambda: target.end(upload, etags, token))
    except UploadLostError as error:
        raise TransientError("the upload was removed by somebody else") from error
    except BaseException:
        _try_to_give_up(target, upload)
        raise
    if begun > 1:
        _give_up_others(target, ask)


def _try_to_give_up(target: Target, upload: str) -> None:
    """Remove a failed upload, by one try: a store that does not answer has been waited for.

    What stays is removed after a later commit, or by the next attempt.
    """
    with contextlib.suppress(MinioException, urllib3.exceptions.HTTPError, ConnectionError):
        target.give_up(upload)


def _give_up_others(target: Target, ask: Ask) -> None:
    """Remove what a beginning whose answer was lost has left."""
    with contextlib.suppress(TrainerError):  # it costs space only
        for upload in ask("list unfinished uploads of", target.begun):
            ask("give up an upload of", partial(target.give_up, upload))


def _send(target: Target, upload: str, bodies: Iterable[Body], ask: Ask) -> dict[int, str]:
    """Send all parts; return their etags by number."""
    free = threading.Semaphore(PARALLEL)
    with ThreadPoolExecutor(PARALLEL, "upload") as pool:
        sent: dict[int, Future[str]] = {}
        for number, body in enumerate(bodies, 1):
            free.acquire()
            if any(part.done() and part.exception() for part in sent.values()):
                break
            sent[number] = pool.submit(ask, "write", partial(target.put, upload, number, body))
            sent[number].add_done_callback(lambda _: free.release())
        return {number: part.result() for number, part in sent.items()}


def read_parts(stream: BinaryIO, size: int) -> Iterator[bytes]:
    """The parts of a stream of ``size`` bytes."""
    for part in parts_of(size):
        yield read_exactly(stream, part.length)


def read_exactly(stream: BinaryIO, length: int) -> bytes:
    """The next bytes of a stream, all of them.

    Raises:
        OSError: the stream ends before.
    """
    body = stream.read(length)
    if len(body) != length:
        raise OSError(errno.EIO, f"stream ended {length - len(body)} bytes before its end")
    return body
