"""Losses and gradient norms between two readings.

Rules this module keeps:

* Iterations add tensors and wait for nothing. A reading is one collective, which every rank takes
  after the same iteration.
* Ranks agree by what they read: the same means, and the same length of the next interval, for
  which they share the mean of their clocks.
* A number that is not finite belongs to an update that was skipped: it is left out of the means,
  and so is a metric that has no other number since the last reading.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from statistics import fmean

import torch
from torch import Tensor

from sid_trainer.engine.iteration import IterationResult

READING_SECONDS = 2.0
"""Time between two readings that is aimed at."""
MAX_INTERVAL = 100
"""Iterations between two readings at most, so that what is told stays fresh."""


class TrainingMetrics:
    """Collects iterations and reads them together."""

    def __init__(self) -> None:
        self._pending: list[tuple[tuple[str, ...], Tensor]] = []
        self._interval = 1
        self._since = time.monotonic()
        self.latest: dict[str, float] = {}

    def add(self, result: IterationResult) -> None:
        """Note an iteration."""
        metrics = result.metrics
        device = next(iter(metrics.values())).device
        row = torch.stack([number.to(device) for number in metrics.values()])
        self._pending.append((tuple(metrics), row))

    @property
    def due(self) -> bool:
        """Whether all ranks are to read now."""
        return len(self._pending) >= self._interval

    def read(self) -> None:
        """Average what was added over iterations and ranks into :attr:`latest`; a collective."""
        if not self._pending:
            return
        pending, self._pending = self._pending, []
        numbers, seconds = self._over_ranks(torch.cat([row for _, row in pending]).double())
        names = [name for names, _ in pending for name in names]
        self.latest = means_of_finite(names, numbers.tolist())
        per_iteration = max(seconds / len(pending), 1e-9)
        self._interval = min(MAX_INTERVAL, max(1, round(READING_SECONDS / per_iteration)))
        self._since = time.monotonic()

    def _over_ranks(self, numbers: Tensor) -> tuple[Tensor, float]:
        """Numbers averaged over ranks, and the mean time since the last reading."""
        elapsed = numbers.new_tensor([time.monotonic() - self._since])
        everything = torch.cat([numbers, elapsed])
        torch.distributed.all_reduce(everything)
        everything = everything.cpu() / torch.distributed.get_world_size()
        return everything[:-1], float(everything[-1])


def means_of_finite(names: Sequence[str], numbers: Sequence[float]) -> dict[str, float]:
    """Mean of each metric over its finite numbers, where it has any.

    Args:
        names: the metric of each number, repeated as often as it was measured.
        numbers: as many.
    """
    values: dict[str, list[float]] = {}
    for name, number in zip(names, numbers, strict=True):
        if math.isfinite(number):
            values.setdefault(name, []).append(number)
    return {name: fmean(of_name) for name, of_name in values.items()}
