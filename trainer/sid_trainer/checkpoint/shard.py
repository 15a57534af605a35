"""One rank's state as a safetensors file that is never held twice in memory.

Rules this module keeps:

* What is written is the tensors' own memory, which nobody may write to meanwhile.
* Reading gives tensors that share the memory of the buffer they were read into.
* The student's weights come first, the averaged ones before the present ones, each of these
  beginnings with a checksum: who wants no more reads no more.
* The file is plain safetensors: the library of that name reads it, and it holds no code.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sid_trainer.checkpoint.checksums import Checksum
from sid_trainer.checkpoint.state import RankState
from sid_trainer.precision import STORED_DTYPES

META_KEY = "sid.meta"
"""Where the state's JSON stands in the file's own metadata."""

WEIGHTS = ("ema/weight/", "student/weight/")
"""Prefixes of the names of the student's weights: averaged, present."""

_NAMES = {dtype: name for name, dtype in STORED_DTYPES.items()}
LENGTH = struct.Struct("<Q")


@dataclass(frozen=True)
class Checksums:
    """What a file's bytes come to.

    Attributes:
        whole: of all of it.
        beginnings: length and checksum of the file up to the end of each kind of :data:`WEIGHTS`
            that it has.
    """

    whole: str
    beginnings: tuple[tuple[int, str], ...]


class Shard:
    """The bytes of a state, where its tensors have them.

    Attributes:
        buffers: the file, piece by piece.
        size: length of the file in bytes.
    """

    def __init__(self, state: RankState) -> None:
        # Widest element first, so that every tensor is aligned to its own element size.
        ordered = sorted(
            state.tensors.items(), key=lambda item: (-item[1].element_size(), *_order(item[0]))
        )
        names = [name for name, _ in ordered]
        tensors = [tensor.detach().contiguous() for _, tensor in ordered]
        header = _header(names, tensors, state)
        self.buffers = [memoryview(header), *(_bytes(t) for t in tensors if t.nbytes)]
        self.size = sum(buffer.nbytes for buffer in self.buffers)
        self._ends = _ends(names, tensors, len(header))

    def checksums(self) -> Checksums:
        """Read everything once. It lets other threads work meanwhile."""
        checksum, read = Checksum(), 0
        beginnings = []
        for buffer in self.buffers:
            checksum.update(buffer)
            read += buffer.nbytes
            if read in self._ends:
                beginnings.append((read, checksum.value))
        return Checksums(checksum.value, tuple(beginnings))


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.reshape(-1).view(torch.uint8).numpy().data


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
    dtype, shape = STORED_DTYPES[entry["dtype"]], entry["shape"]
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
