"""From what a VAE gives to what a picture file holds."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from sid_trainer.teachers.base import Teacher

_DECODED = 16
"""Images decoded at a time: they are fp32 until they are rounded."""

logger = logging.getLogger(__name__)


def to_uint8(images: Tensor) -> Tensor:
    """Images in [0, 1] as a PNG has them: metrics judge what a user would save.

    What is no number is black, as it is in the picture that a diffusers pipeline gives.
    """
    return (images.float().nan_to_num(0.0).clamp(0, 1) * 255).round().to(torch.uint8)


def decoded(teacher: Teacher, latents: Tensor) -> Tensor:
    """Images ``[B, 3, H, W]`` in uint8 in host memory of latents ``[B, C, H, W]``."""
    images, broken = [], 0
    for part in torch.split(latents, _DECODED):
        decoded_part = teacher.decode(part)
        broken += int(decoded_part.isnan().flatten(1).any(dim=1).sum())
        images.append(to_uint8(decoded_part))
    if broken:
        logger.warning(
            "the VAE gave no numbers (NaN) for %d of %d images: they are judged with black pixels",
            broken,
            len(latents),
        )
    return torch.cat(images)
