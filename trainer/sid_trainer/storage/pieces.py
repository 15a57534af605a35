"""The body of a request whose bytes lie in several places: it is sent from there, never copied."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence


class Pieces:
    """Bytes in memory that nobody may write to meanwhile.

    Args:
        buffers: one after the other, of bytes.
    """

    def __init__(self, buffers: Sequence[memoryview]) -> None:
        self._buffers = buffers
        self._size = sum(buffer.nbytes for buffer in buffers)

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[memoryview]:
        return iter(self._buffers)

    def sha256(self) -> str:
        """Checksum in hex. It lets other threads work meanwhile."""
        checksum = hashlib.sha256()
        for buffer in self._buffers:
            checksum.update(buffer)
        return checksum.hexdigest()


def cut(buffers: Iterable[memoryview], lengths: Iterable[int]) -> Iterator[Pieces]:
    """Cut buffers into bodies of these lengths, which sum up to theirs."""
    left, current = iter(buffers), memoryview(b"")
    for length in lengths:
        pieces: list[memoryview] = []
        while length:
            current = current or next(left)
            pieces.append(current[:length])
            current, length = current[length:], length - len(pieces[-1])  # noqa: PLW2901
        yield Pieces(pieces)
