"""Numbers to compute with, in fp64."""

from __future__ import annotations

import torch
from torch import Tensor

SHAPE = (3, 2, 4, 4)


def numbers(seed: int, shape: tuple[int, ...] = SHAPE) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)
