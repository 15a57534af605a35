"""The moving average of the student."""

from __future__ import annotations

import pytest
import torch

from sid_trainer.method.ema import MovingAverage, decay


def test_the_average_has_its_half_life() -> None:
    average = MovingAverage({"w": torch.ones(1)}, decay(batch_size=10, half_life_images=40))
    for _ in range(4):
        average.update({"w": torch.zeros(1)})
    assert float(average.shards["w"]) == pytest.approx(0.5)
