"""Which image each sample of each iteration has.

The order is a function of (number of images in each part, seed) alone, so it depends neither on the
number of ranks nor on where a run was resumed. Every image comes once an epoch. Parts come in a
fresh order each epoch and are taken :data:`WINDOW` at a time; the images of these are shuffled
together. So a node needs no more than the parts of one window, or of two at its border.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeVar

import torch

from sid_trainer.method.noise import Purpose, derived_seed

WINDOW = 8
"""Parts whose images are shuffled together."""


@dataclass(frozen=True)
class _Window:
    """Parts of an epoch that come together; ``ends`` are running sums of their images."""

    parts: list[int]
    ends: list[int]
    permutation: list[int]

    def at(self, offset: int) -> tuple[int, int]:
        image = self.permutation[offset]
        place = bisect_right(self.ends, image)
        return self.parts[place], image - (self.ends[place - 1] if place else 0)


@dataclass(frozen=True)
class _Epoch:
    """The windows of an epoch, as parts; ``ends`` are running sums of their images."""

    windows: list[list[int]]
    ends: list[int]


class ImageOrder:
    """The images of all positions.

    Args:
        counts: usable images of each part, at least one in all.
        batch_size: samples of an iteration over all ranks.
        seed: the run's seed.

    Attributes:
        seed: the same.
    """

    def __init__(self, counts: Sequence[int], batch_size: int, seed: int) -> None:
        self._counts = counts
        self._total = sum(counts)
        self._batch_size = batch_size
        self.seed = seed
        self._epochs: dict[int, _Epoch] = {}
        self._windows: dict[tuple[int, int], _Window] = {}

    def places(self, iteration: int, samples: Sequence[int]) -> list[tuple[int, int]]:
        """Part, and number in it, of each sample's image.

        Args:
            iteration: iterations finished before this one.
            samples: places in the global batch, from 0.
        """
        start = iteration * self._batch_size
        return [self._at(start + sample) for sample in samples]

    def parts(self, iterations: range) -> set[int]:
        """Parts from which any rank may need an image in some iterations."""
        positions = range(iterations.start * self._batch_size, iterations.stop * self._batch_size)
        needed: set[int] = set()
        at = positions.start
        while at < positions.stop:
            epoch, offset = divmod(at, self._total)
            window = bisect_right(self._epoch(epoch).ends, offset)
            needed.update(self._epoch(epoch).windows[window])
            at += self._epoch(epoch).ends[window] - offset
        return needed

    def _at(self, position: int) -> tuple[int, int]:
        epoch, offset = divmod(position, self._total)
        ends = self._epoch(epoch).ends
        window = bisect_right(ends, offset)
        return self._window(epoch, window).at(offset - (ends[window - 1] if window else 0))

    def _epoch(self, epoch: int) -> _Epoch:
        if epoch not in self._epochs:
            parts = _permutation(len(self._counts), self.seed, epoch)
            windows = [parts[start : start + WINDOW] for start in range(0, len(parts), WINDOW)]
            sizes = (sum(self._counts[part] for part in window) for window in windows)
            self._epochs = _newest(self._epochs) | {epoch: _Epoch(windows, list(accumulate(sizes)))}
        return self._epochs[epoch]

    def _window(self, epoch: int, window: int) -> _Window:
        if (epoch, window) not in self._windows:
            parts = self._epoch(epoch).windows[window]
            ends = list(accumulate(self._counts[part] for part in parts))
            permutation = _permutation(ends[-1], self.seed, epoch, window)
            made = _Window(parts, ends, permutation)
            self._windows = _newest(self._windows) | {(epoch, window): made}
        return self._windows[epoch, window]


_Key = TypeVar("_Key")
_Made = TypeVar("_Made")


def _newest(made: dict[_Key, _Made]) -> dict[_Key, _Made]:
    """The last two of what was made: a chunk goes over a border at most now and then."""
    return dict(list(made.items())[-2:])


def _permutation(count: int, seed: int, *coordinates: int) -> list[int]:
    generator = torch.Generator().manual_seed(derived_seed(seed, Purpose.IMAGES, *coordinates))
    numbers: list[int] = torch.randperm(count, generator=generator).tolist()
    return numbers
