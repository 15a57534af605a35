"""Reading a checkpoint's objects block by block, for who has less memory than a rank.

Rules this module keeps:

* One block is in memory at a time, and what the caller makes of it.
* What was read is worth nothing until :meth:`Reader.require` has compared its checksum.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sid_trainer.checkpoint.checksums import Checksum
from sid_trainer.checkpoint.manifest import Beginning, DamagedError, Manifest, PartFile
from sid_trainer.checkpoint.shard import LENGTH, META_KEY
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.storage import Storage

BLOCK = 32 * 2**20
"""Bytes that are read at a time: a multiple of every element's size."""

MAX_HEADER_BYTES = 100_000_000
"""Of a safetensors file: what the library of that name takes, too."""

Progress = Callable[[int], object]
"""Told the bytes that were read since the last call."""


class Reader:
    """A rank's part from its first byte on, its checksum taken on the way.

    Args:
        storage: the run's folder.
        manifest: of the checkpoint.
        rank: whose part is read.
        progress: is told what was read.
    """

    def __init__(
        self,
        storage: Storage,
        manifest: Manifest,
        rank: int,
        progress: Progress = lambda _: None,
    ) -> None:
        part = manifest.parts[rank]
        self._storage, self._key, self._progress = storage, manifest.part_key(rank), progress
        self._checksum = Checksum.like(part.checksum)
        self._buffer = bytearray()
        self.offset = 0
        """Bytes that were read."""

    @property
    def uri(self) -> str:
        """Address of the object."""
        return self._storage.uri(self._key)

    def take(self, size: int) -> memoryview:
        """The next ``size`` bytes, valid until the next call.

        Raises:
            DamagedError: the object is not there, or ends before.
        """
        if len(self._buffer) < size:
            self._buffer = bytearray(size)
        view = memoryview(self._buffer)[:size]
        try:
            found = self._storage.get_range(self._key, self.offset, view)
        except TrainerError as error:
            if error.reason is not FailureReason.NOT_FOUND:
                raise
            raise DamagedError(str(error)) from error
        if found < size:
            raise DamagedError(
                f"{self.uri} ends after {self.offset + found} bytes, before its manifest says"
            )
        self._checksum.update(view)
        self.offset += size
        self._progress(size)
        return view

    def blocks(self, end: int) -> Iterator[tuple[int, memoryview]]:
        """What follows, up to ``end``: place in the object, and bytes valid until the next."""
        while self.offset < end:
            start = self.offset
            yield start, self.take(min(BLOCK, end - start))

    def require(self, expected: PartFile | Beginning) -> None:
        """Raise DamagedError unless what was read is what the manifest says."""
        if self.offset != expected.size or self._checksum.value != expected.checksum:
            raise DamagedError(f"{self.uri} does not have the checksum of its manifest")


@dataclass(frozen=True)
class Header:
    """What a part says of itself; not verified before the whole that was read is.

    Attributes:
        tensors: type, shape and place of each tensor by name.
        meta: of the rank's state.
    """

    tensors: Mapping[str, Any]
    meta: Mapping[str, Any]

    def require(self, manifest: Manifest, rank: int, uri: str) -> None:
        """Raise DamagedError unless it is the part of a rank of that checkpoint."""
        problem = manifest.contradiction(rank, self.meta)
        if problem:
            raise DamagedError(f"{uri} {problem}")


def read_header(reader: Reader) -> Header:
    """What an object begins with.

    Raises:
        DamagedError: it is no part of a checkpoint.
    """
    (length,) = LENGTH.unpack(reader.take(LENGTH.size))
    if length > MAX_HEADER_BYTES:
        raise DamagedError(f"{reader.uri} is no rank state: its header would have {length} bytes")
    try:
        tensors: dict[str, Any] = json.loads(bytes(reader.take(length)))
        meta: dict[str, Any] = json.loads(tensors.pop("__metadata__")[META_KEY])
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"{reader.uri} is no rank state: {error}") from error
    return Header(tensors, meta)
