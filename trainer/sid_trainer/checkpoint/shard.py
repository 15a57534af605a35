"""One rank's state as a safetensors file that is never held twice in memory.

Rules this module keeps:

* Writing streams the tensors' own memory and computes the checksum on the way.
* Reading gives tensors that share the memory of the buffer they were read into.
* The student's weights come first, the averaged ones before the present ones, each of these
  beginnings with a checksum: who wants no more reads no more.
* The file is plain safetensors: the library of that name reads it, and it holds no code.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

import torch
from torch import Tensor

from sid_trainer.state import RankState

META_KEY = "sid.meta"
"""Where the state's JSON stands in the file's own metadata."""

WEIGHTS = ("ema/weight/", "student/weight/")
"""Prefixes of the names of the student's weights: averaged, present."""

_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
DTYPES = {name: dtype for dtype, name in _NAMES.items()}
LENGTH = struct.Struct("<Q")


class Shard:
    """The bytes of a state, to be streamed as often as a retry needs.

    Attributes:
        size: length of the file in bytes.
        sha256: checksum of the file in hex, known once it has been streamed to its end.
        beginnings: length and checksum of the file up to the end of each kind of :data:`WEIGHTS`
            that it has, known then, too.
    """

    def __init__(self, state: RankState) -> None:
        # Widest element first, so that every tensor is aligned to its own element size.
        tensors = sorted(
            state.tensors.items(), key=lambda item: (-item[1].element_size(), *_order(item[0]))
        )
        self._tensors = [tensor.detach().contiguous() for _, tensor in tensors]
        names = [name for name, _ in tensors]
        self._header = _header(names, self._tensors, state)
        self.size = len(self._header) + sum(tensor.nbytes for tensor in self._tensors)
        self._ends = _ends(names, self._tensors, len(self._header))
        self.sha256: str | None = None
        self.beginnings: list[tuple[int, str]] = []

    def open(self) -> BinaryIO:
        """A new stream over the file."""
        self.sha256, self.beginnings = None, []
        return io.BufferedReader(_ChunkStream(self._chunks(), self), buffer_size=2**20)

    def note(self, read: int, checksum: Any) -> None:
        """Take the checksum of the first ``read`` bytes where it is wanted."""
        if read in self._ends:
            self.beginnings.append((read, checksum.copy().hexdigest()))
        if read == self.size:  # readers that know the size never ask for the end
            self.sha256 = checksum.hexdigest()

    def _chunks(self) -> Iterator[memoryview]:
        yield memoryview(self._header)
        for tensor in self._tensors:
            if tensor.nbytes:
                yield tensor.reshape(-1).view(torch.uint8).numpy().data


class _ChunkStream(io.RawIOBase):
    """Reads chunks one after the other and hands their checksum to the shard at the end."""

    def __init__(self, chunks: Iterator[memoryview], shard: Shard) -> None:
        self._chunks, self._shard = chunks, shard
        self._current = memoryview(b"")
        self._hash, self._read = hashlib.sha256(), 0

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        """Fill ``target`` as far as the present chunk goes; 0 at the end."""
        while not self._current:
            following = next(self._chunks, None)
            if following is None:
                return 0
            self._current = following
        view = memoryview(target).cast("B")
        count = min(len(view), len(self._current))
        view[:count] = self._current[:count]
        self._hash.update(self._current[:count])
        self._current = self._current[count:]
        self._read += count
        self._shard.note(self._read, self._hash)
        return count


def read_shard(buffer: bytearray | memoryview) -> RankState:
    """The state in the bytes of a file, whose checksum has been verified.

    Raises:
        ValueError: when the bytes are no such file.
    """
    (length,) = LENGTH.unpack_from(buffer)
    start = LENGTH.size + length
    header = json.loads(bytes(buffer[LENGTH.size : start]))
    meta = json.loads(header.pop("__metadata__")[META_KEY])
    return RankState({name: _tensor(buffer, start, entry) for name, entry in header.items()}, meta)


def _tensor(buffer: bytearray | memoryview, start: int, entry: dict[str, Any]) -> Tensor:
    begin, end = entry["data_offsets"]
    dtype, shape = DTYPES[entry["dtype"]], entry["shape"]
    if begin == end:
        return torch.empty(shape, dtype=dtype)
    count = (end - begin) // dtype.itemsize
    flat = torch.frombuffer(buffer, dtype=dtype, count=count, offset=start + begin)
    return flat.reshape(shape)


def _order(name: str) -> tuple[int, str]:
    kinds = (kind for kind, prefix in enumerate(WEIGHTS) if name.startswith(prefix))
    return next(kinds, len(WEIGHTS)), name


def _ends(names: list[str], tensors: list[Tensor], start: int) -> set[int]:
    """Lengths of the file up to the last tensor of each kind of weights."""
    ends: dict[str, int] = {}
    for name, tensor in zip(names, tensors, strict=True):
        start += tensor.nbytes
        ends |= {prefix: start for prefix in WEIGHTS if name.startswith(prefix)}
    return set(ends.values())


def _header(names: list[str], tensors: list[Tensor], state: RankState) -> bytes:
    entries: dict[str, Any] = {"__metadata__": {META_KEY: json.dumps(state.meta)}}
    offset = 0
    for name, tensor in zip(names, tensors, strict=True):
        entries[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + tensor.nbytes],
        }
        offset += tensor.nbytes
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return LENGTH.pack(len(text)) + text
