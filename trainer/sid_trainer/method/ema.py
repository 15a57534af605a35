"""Exponential moving average of the student's weights, shard by shard.

Each rank averages its own shards where they are; nothing is communicated. The average is fp32 in
every precision: its steps are too small for bf16. The half-life is in images, so that it means the
same at any batch size.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def decay(batch_size: int, half_life_images: int) -> float:
    """Weight of the old average in one iteration: one half after ``half_life_images`` images."""
    return float(0.5 ** (batch_size / half_life_images))


class MovingAverage:
    """The average of some shards, starting at their present values.

    Args:
        weights: 1-D shards by name.
        beta: weight of the old average in an update.
    """

    def __init__(self, weights: Mapping[str, Tensor], beta: float) -> None:
        self.shards = {
            name: weight.detach().to(torch.float32, copy=True) for name, weight in weights.items()
        }
        self._beta = beta

    @torch.no_grad()
    def update(self, weights: Mapping[str, Tensor]) -> None:
        """Move towards the present weights."""
        names = list(self.shards)
        average = [self.shards[name] for name in names]
        torch._foreach_lerp_(average, [weights[name].float() for name in names], 1 - self._beta)

    def restore(self, shards: Mapping[str, Tensor]) -> None:
        """Go on from saved shards."""
        for name, shard in self.shards.items():
            shard.copy_(shards[name])
