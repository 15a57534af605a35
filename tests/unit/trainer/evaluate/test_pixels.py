"""Pixels as a file has them."""

from __future__ import annotations

import torch

from sid_trainer.evaluate.pixels import to_uint8


def test_pixels_are_rounded_as_in_a_file() -> None:
    assert to_uint8(torch.tensor([-0.1, 0.0, 0.499 / 255, 0.501 / 255, 1.2])).tolist() == [
        0,
        0,
        0,
        1,
        255,
    ]
