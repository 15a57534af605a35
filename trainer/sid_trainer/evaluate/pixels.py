"""From what a VAE gives to what a picture file holds."""

from __future__ import annotations

import torch
from torch import Tensor

from sid_trainer.teachers.base import Teacher

_DECODED = 16
"""Images decoded at a time: they are fp32 until they are rounded."""


def to_uint8(images: Tensor) -> Tensor:
    """Images in [0, 1] as a PNG has them: metrics judge what a user would save."""
    return (images.float().clamp(0, 1) * 255).round().to(torch.uint8)


def decoded(teacher: Teacher, latents: Tensor) -> Tensor:
    """Images ``[B, 3, H, W]`` in uint8 in host memory of latents ``[B, C, H, W]``."""
    return torch.cat([to_uint8(teacher.decode(part)) for part in torch.split(latents, _DECODED)])
