"""The order in which training prompts come.

The order is a function of (seed, number of prompts) alone: a fresh permutation each epoch, cut into
global batches, so it depends neither on the number of ranks nor on where a run was resumed. The
permutation is computed place by place and never stored, so ten million prompts take no memory: the
swap-or-not shuffle (Hoang, Morris and Rogaway, CRYPTO 2012). In each round a key pairs the places
off, and a random bit of each pair says whether its two change places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sid_trainer.method.noise import Purpose, derived_seed

Places = NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_ROUNDS = 96
"""About 4 bits of mixing for each bit of ten million prompts; a round costs microseconds."""


@dataclass(frozen=True)
class PromptOrder:
    """Which prompt each sample of each iteration has.

    Attributes:
        count: number of prompts.
        batch_size: samples of an iteration over all ranks.
        seed: the run's seed.
    """

    count: int
    batch_size: int
    seed: int

    def of(self, iterations: range, samples: Sequence[int]) -> list[list[int]]:
        """Prompts ``[iterations][samples]``; ``samples`` are places in the global batch, from 0."""
        starts = np.asarray(iterations, dtype=np.int64) * self.batch_size
        positions = starts[:, None] + np.asarray(samples, dtype=np.int64)
        epochs, offsets = np.divmod(positions, self.count)
        chosen = np.empty_like(positions)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            chosen[here] = permuted(offsets[here], self.count, self._epoch_seed(int(epoch)))
        found: list[list[int]] = chosen.tolist()
        return found

    def _epoch_seed(self, epoch: int) -> int:
        return derived_seed(self.seed, Purpose.PROMPTS, epoch)


def permuted(places: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Where a pseudo-random permutation of ``0 .. count - 1`` takes some places ``[N]``."""
    at = places.astype(np.uint64)
    size = np.uint64(count)
    for key, salt in zip(*_round_keys(seed, count), strict=True):
        partner = (key + size - at) % size
        swap = _mixed(np.maximum(at, partner) ^ salt) >> np.uint64(63)
        at = np.where(swap.astype(bool), partner, at)
    return at.astype(np.int64)


@lru_cache(maxsize=4)
def _round_keys(seed: int, count: int) -> tuple[Places, Places]:
    """Keys in ``0 .. count - 1`` and salts of the rounds."""
    numbers = _mixed(np.uint64(seed) + np.arange(1, 2 * _ROUNDS + 1, dtype=np.uint64) * _GOLDEN)
    return numbers[:_ROUNDS] % np.uint64(count), numbers[_ROUNDS:]


def _mixed(numbers: Places) -> Places:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, 2014): mixes all bits."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))
