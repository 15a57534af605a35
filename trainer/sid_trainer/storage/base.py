"""What every storage offers, and the rules for keys.

Rules this module keeps:

* A key is a relative path of plain segments; one that could leave the run's folder is refused
  before any I/O, whether it comes from us or from a listing of somebody's bucket.
* Every operation is whole: an object is there completely or not at all.
* Failures are :class:`~sid_trainer.contract.TrainerError` with the reason ``AccessDenied``,
  ``NotFound`` or ``StorageUnavailable``; the message names the bucket, object or endpoint and
  the remedy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from sid_trainer.contract import FailureReason, TrainerError

MAX_SMALL_OBJECT = 64 * 2**20
"""Bytes that :meth:`Storage.get_bytes` reads at most: JSON, prompts and pictures are smaller."""


@dataclass(frozen=True)
class ObjectInfo:
    """One object of a listing; ``etag`` changes whenever its content does."""

    key: str
    size: int
    etag: str


class BegunUpload(NamedTuple):
    """A large object on its way: it has begun, and has neither ended nor been given up."""

    key: str
    id: str


class Storage(Protocol):
    """A folder of objects. Keys are relative to it and use ``/``.

    Implementations are safe to use from several threads.
    """

    def uri(self, key: str = "") -> str:
        """Address of an object (or, without a key, of the folder) as a user writes it."""

    def put_bytes(
        self, key: str, data: bytes, content_type: str = "application/octet-stream"
    ) -> None:
        """Write a small object; replaces one that is there."""

    def put_if(self, key: str, data: bytes, etag: str | None, content_type: str) -> bool:
        """Write a small object if the one there has this etag, or, for None, if there is none.

        Returns:
            Whether it was written. Of several that write on one condition, one does: where the
            store knows conditional writes; where it does not, the condition is looked at just
            before the write.
        """

    def put_stream(self, key: str, open_stream: Callable[[], BinaryIO], size: int) -> None:
        """Write ``size`` bytes of a stream, in parts where it is large.

        ``open_stream`` is called again for every retry, so it starts from the first byte each time.
        """

    def put_buffers(self, key: str, buffers: Sequence[memoryview]) -> None:
        """Write buffers of bytes one after the other, in parts where they are large.

        They are sent from where they lie; nobody may write to them meanwhile.
        """

    def put_file(self, key: str, path: Path) -> None:
        """Write a local file, in parts where it is large."""

    def get_bytes(self, key: str, max_bytes: int = MAX_SMALL_OBJECT) -> bytes:
        """Read a small object.

        Raises:
            TrainerError: ``NotFound`` when it is absent, ``InvalidData`` beyond ``max_bytes``.
        """

    def get_range(self, key: str, start: int, buffer: memoryview) -> int:
        """Read from byte ``start`` on into ``buffer``; return how much there was, at most its size.

        Raises:
            TrainerError: ``NotFound`` when it is absent.
        """

    def get_file(self, key: str, path: Path) -> None:
        """Write an object to a local file, which appears only when it is whole."""

    def exists(self, key: str) -> bool:
        """Whether the object is there."""

    def list(self, prefix: str = "") -> list[ObjectInfo]:
        """All objects whose key starts with ``prefix``, sorted by key."""

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; absent ones are no error."""

    def begun_uploads(self, keys: Iterable[str] = ()) -> Sequence[BegunUpload]:
        """Uploads that have not ended, of living writers and of dead ones.

        Args:
            keys: objects that are asked about one by one, for stores that list by whole keys only.
        """

    def give_up(self, uploads: Iterable[BegunUpload]) -> None:
        """Remove unfinished uploads with what they have stored; absent ones are no error."""


def safe_key(key: str) -> str:
    """Return ``key`` when it is one, else raise.

    Raises:
        ValueError: for an empty or absolute key, empty, ``.`` or ``..`` segments, backslashes and
            control characters.
    """
    segments = key.split("/")
    if any(segment in ("", ".", "..") for segment in segments):
        raise ValueError(f"object key {key!r} is not a relative path of plain segments")
    if "\\" in key or any(ord(char) < 32 or ord(char) == 127 for char in key):
        raise ValueError(f"object key {key!r} contains a backslash or a control character")
    return key


def safe_prefix(prefix: str) -> str:
    """Return ``prefix`` of a listing when it is empty, a key, or a key followed by ``/``."""
    if prefix:
        safe_key(prefix.removesuffix("/"))
    return prefix


def not_found(what: str, remedy: str) -> TrainerError:
    """The error for something that is not there."""
    return TrainerError(FailureReason.NOT_FOUND, f"{what} does not exist: {remedy}")


def too_large(uri: str, limit: int) -> TrainerError:
    """The error for an object that is larger than its reader takes."""
    return TrainerError(
        FailureReason.INVALID_DATA,
        f"{uri} is larger than the {limit} bytes that are read of it: is it the right object?",
    )
