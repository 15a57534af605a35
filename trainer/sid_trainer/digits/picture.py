"""Pictures of 8×8 samples, enlarged so that a person can judge them."""

from __future__ import annotations

import torch
from PIL import Image

_ENLARGEMENT = 6
_GAP = 1


def grid(images: torch.Tensor, columns: int = 10) -> Image.Image:
    """Return images ``[N, 3, H, W]`` in [-1, 1] as rows of ``columns``, each pixel 6×6 large."""
    count, _, height, width = images.shape
    rows = -(-count // columns)
    sheet = torch.zeros(3, rows * (height + _GAP), columns * (width + _GAP))
    for index, image in enumerate(images.clamp(-1, 1)):
        top, left = index // columns * (height + _GAP), index % columns * (width + _GAP)
        sheet[:, top : top + height, left : left + width] = (image + 1) / 2
    pixels = (sheet * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    picture = Image.fromarray(pixels)
    size = (picture.width * _ENLARGEMENT, picture.height * _ENLARGEMENT)
    return picture.resize(size, Image.Resampling.NEAREST)
