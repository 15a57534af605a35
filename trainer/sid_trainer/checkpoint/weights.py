"""The student's weights out of a checkpoint of any number of ranks, put together in one process.

Rules this module keeps:

* Only the beginning of each part is read, which holds the weights (:mod:`.shard`); the whole of it
  where a checkpoint is from before beginnings had a checksum.
* Every byte that is read is verified before the weights are handed out.
* In memory are the weights, once, in the type that is asked for, and one block of an object.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sid_trainer.checkpoint.manifest import Beginning, DamagedError, Manifest, PartFile
from sid_trainer.checkpoint.reading import Progress, Reader, read_header
from sid_trainer.checkpoint.reshard import shard_length
from sid_trainer.checkpoint.shard import WEIGHTS
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.precision import STORED_DTYPES
from sid_trainer.storage import Storage

_AVERAGED, _PRESENT = WEIGHTS


@dataclass(frozen=True)
class Wanted:
    """Which weights are asked for.

    Attributes:
        averaged: the moving average, in place of the present weights.
        shapes: of the network's parameters by name.
        dtype: type to give them in.
    """

    averaged: bool
    shapes: Mapping[str, torch.Size]
    dtype: torch.dtype

    @property
    def prefix(self) -> str:
        """What the tensors' names begin with."""
        return _AVERAGED if self.averaged else _PRESENT


def read_weights(
    storage: Storage, manifest: Manifest, wanted: Wanted, progress: Progress = lambda _: None
) -> dict[str, Tensor]:
    """Parameters by name in host memory.

    Raises:
        TrainerError: ``InvalidData`` naming the object that is damaged, ``InvalidConfiguration``
            when the checkpoint is of another network.
    """
    flat = {
        name: torch.empty(shape.numel(), dtype=wanted.dtype)
        for name, shape in wanted.shapes.items()
    }
    try:
        for rank in range(manifest.world_size):
            _read_part(storage, manifest, rank, wanted, flat, progress)
    except DamagedError as error:
        raise TrainerError(
            FailureReason.INVALID_DATA,
            f"the checkpoint of iteration {manifest.iteration} is damaged: {error}; take another "
            "one by --iteration",
        ) from error
    return {name: tensor.reshape(wanted.shapes[name]) for name, tensor in flat.items()}


def size_to_read(manifest: Manifest, *, averaged: bool) -> int:
    """Bytes that :func:`read_weights` reads of a checkpoint."""
    return sum(_extent(part, averaged=averaged).size for part in manifest.parts)


@dataclass(frozen=True)
class _Piece:
    """A rank's shard of a parameter: bytes ``[begin, end)`` of the part, from element ``first``."""

    name: str
    dtype: torch.dtype
    begin: int
    end: int
    first: int

    def copy(self, start: int, block: memoryview, target: Tensor) -> None:
        """Copy what a block at ``start`` has of it; padding at the parameter's end is left out."""
        low, high = max(self.begin, start), min(self.end, start + len(block))
        first = self.first + (low - self.begin) // self.dtype.itemsize
        count = min((high - low) // self.dtype.itemsize, len(target) - first)
        if low < high and count > 0:
            source = torch.frombuffer(block, dtype=self.dtype, count=count, offset=low - start)
            target[first : first + count] = source


def _read_part(
    storage: Storage,
    manifest: Manifest,
    rank: int,
    wanted: Wanted,
    flat: dict[str, Tensor],
    progress: Progress,
) -> None:
    part = manifest.parts[rank]
    reader = Reader(storage, manifest, rank, progress)
    header = read_header(reader)
    try:
        pieces = list(_pieces(header.tensors, reader.offset, wanted, rank, manifest.world_size))
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"{reader.uri} is no rank state: {error}") from error
    needed = max((piece.end for piece in pieces), default=0)
    extent = _extent(part, averaged=wanted.averaged)
    extent = extent if needed <= extent.size else part
    for start, block in reader.blocks(extent.size):
        for piece in pieces:
            piece.copy(start, block, flat[piece.name])
    reader.require(extent)
    header.require(manifest, rank, reader.uri)
    _refuse_other_network({piece.name for piece in pieces}, wanted, reader.uri)


def _extent(part: PartFile, *, averaged: bool) -> PartFile | Beginning:
    """As much of a part as should hold the weights; the present ones come last."""
    if not part.beginnings:
        return part
    return part.beginnings[0 if averaged else -1]


def _pieces(
    tensors: Mapping[str, Any], start: int, wanted: Wanted, rank: int, world: int
) -> Iterator[_Piece]:
    """The shards of the wanted parameters, where they have the length that they must have."""
    for name, shape in wanted.shapes.items():
        entry = tensors.get(wanted.prefix + name)
        length = shard_length(shape.numel(), world)
        if entry is not None and entry["shape"] == [length]:
            begin, end = entry["data_offsets"]
            dtype, first = STORED_DTYPES[entry["dtype"]], rank * length
            yield _Piece(name, dtype, start + begin, start + end, first)


def _refuse_other_network(found: set[str], wanted: Wanted, uri: str) -> None:
    missing = sorted(wanted.shapes.keys() - found)
    if missing:
        raise TrainerError(
            FailureReason.INVALID_CONFIGURATION,
            f"{uri} is of another network: {wanted.prefix}{missing[0]} is missing or of another "
            "size; name the run's teacher by --teacher",
        )
