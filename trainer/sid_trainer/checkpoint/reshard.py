"""A checkpoint of some number of ranks, laid out anew for another.

Rules this module keeps:

* A shard is ``ceil(numel / worldSize)`` elements of the flattened parameter, zero-padded at the end
  (:mod:`sid_trainer.checkpoint.state`): so a new shard is made of slices of the old ones, bit for
  bit.
* One old part is in memory at a time, beside the new one; parts that hold nothing of the new one
  are not asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from sid_trainer.checkpoint.state import Json, RankState


@dataclass(frozen=True)
class ShardOf:
    """What one rank among ``world`` holds."""

    rank: int
    world: int

    def elements(self, numel: int) -> tuple[int, int]:
        """Elements ``[begin, end)`` of a flattened parameter that the rank's shard holds."""
        length = shard_length(numel, self.world)
        return min(self.rank * length, numel), min((self.rank + 1) * length, numel)


def shard_length(numel: int, world: int) -> int:
    """Elements of a shard, padding included."""
    return math.ceil(numel / world)


def laid_out_anew(load: Callable[[int], RankState], old_world: int, new: ShardOf) -> RankState:
    """The state of a rank of another number of ranks.

    Args:
        load: gives the state of an old rank, verified.
        old_world: number of ranks that the checkpoint is of.
        new: the rank, and the number of ranks, of now.

    Raises:
        KeyError: a tensor is of a parameter whose size the state does not tell.
    """
    first = load(0)
    sizes = first.counts("numel")
    tensors = {
        name: tensor.new_zeros(shard_length(sizes[_parameter(name)], new.world))
        for name, tensor in first.tensors.items()
    }
    for rank in _needed(sizes, old_world, new):
        part = first if rank == 0 else load(rank)
        for name, begin, old, length in _slices(tensors, sizes, ShardOf(rank, old_world), new):
            tensors[name][begin : begin + length] = part.tensors[name][old : old + length]
    meta: dict[str, Json] = {**first.meta, "rank": new.rank, "worldSize": new.world}
    return RankState(tensors, meta)


def _slices(
    tensors: Mapping[str, Tensor], sizes: Mapping[str, int], old: ShardOf, new: ShardOf
) -> Iterator[tuple[str, int, int, int]]:
    """What two shards have in common: name, place in the new one, place in the old, length."""
    for name in tensors:
        numel = sizes[_parameter(name)]
        (old_begin, old_end), (new_begin, new_end) = old.elements(numel), new.elements(numel)
        begin, end = max(old_begin, new_begin), min(old_end, new_end)
        if begin < end:
            yield name, begin - new_begin, begin - old_begin, end - begin


def _needed(sizes: Mapping[str, int], old_world: int, new: ShardOf) -> list[int]:
    """Old ranks that hold something of the new shard."""
    return [
        rank
        for rank in range(old_world)
        if any(
            _overlap(ShardOf(rank, old_world).elements(n), new.elements(n)) for n in sizes.values()
        )
    ]


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return max(one[0], other[0]) < min(one[1], other[1])


def _parameter(name: str) -> str:
    """The parameter of a tensor's name, ``<network>/<part>/<parameter>``."""
    return name.split("/", 2)[2]
