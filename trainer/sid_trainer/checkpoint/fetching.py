"""Reading a rank's object whole: several ranges at a time, its checksum taken as they come.

Rules this module keeps:

* The object is in memory once, and every byte of it is under the checksum.
* Whatever is not what the manifest says is damage, told with the object's address. It is read once
  more before: bytes are damaged on their way, too, and a checkpoint that is passed over is lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import torch

from sid_trainer.checkpoint.checksums import Checksum
from sid_trainer.checkpoint.manifest import DamagedError, PartFile, read_twice
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.storage import Storage

BLOCK = 16 * 2**20
"""Bytes of a range: large enough for full speed, small enough to be verified while others come."""
AHEAD = 3
"""Ranges on their way at a time: more come in parallel than can be verified, which is in order."""


def fetch(storage: Storage, key: str, part: PartFile) -> memoryview:
    """The verified bytes of an object.

    Raises:
        DamagedError: it is missing, or not what the manifest says, twice.
        TrainerError: the store refuses, or does not answer for too long.
    """
    # Not zeroed first: every byte is read, or none is used. A byte more would show a longer object.
    buffer = torch.empty(part.size + 1, dtype=torch.uint8).numpy().data
    read_twice(lambda: _fill(storage, key, part, buffer))
    return buffer[: part.size]


def _fill(storage: Storage, key: str, part: PartFile, buffer: memoryview) -> None:
    uri, checksum, read = storage.uri(key), Checksum.like(part.checksum), 0
    with _reading(storage, key, buffer) as ranges:
        for block, found in ranges:
            read += found
            checksum.update(block[:found])
    if read != part.size:
        more = " or more" if read > part.size else ""
        raise DamagedError(f"{uri} has {read} bytes{more}, and its manifest says {part.size}")
    if checksum.value != part.checksum:
        raise DamagedError(f"{uri} does not have the checksum that its manifest says")


@contextmanager
def _reading(
    storage: Storage, key: str, buffer: memoryview
) -> Iterator[Iterator[tuple[memoryview, int]]]:
    """All ranges in order, each with the bytes that were there; the last may be a byte longer."""
    starts = range(0, len(buffer) - 1, BLOCK)
    blocks = [buffer[start : start + BLOCK] for start in starts[:-1]] + [buffer[starts[-1] :]]
    with ThreadPoolExecutor(AHEAD, "download") as pool:
        reads = [
            pool.submit(storage.get_range, key, start, block)
            for start, block in zip(starts, blocks, strict=True)
        ]
        try:
            yield ((block, _found(read)) for block, read in zip(blocks, reads, strict=True))
        finally:
            for read in reads:
                read.cancel()


def _found(read: Future[int]) -> int:
    try:
        return read.result()
    except TrainerError as error:
        if error.reason is not FailureReason.NOT_FOUND:
            raise
        raise DamagedError(str(error)) from error
