"""The digits of scikit-learn as images in the range and layout that the pipelines use."""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits

IMAGE_SIZE = 8
_MAX_INK = 16.0


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """Return all 1,797 digits: images ``[N, 3, 8, 8]`` in [-1, 1], and labels ``[N]`` (int64)."""
    data = load_digits()
    ink = torch.tensor(data.images, dtype=torch.float32) / _MAX_INK
    images = (ink * 2 - 1).unsqueeze(1).expand(-1, 3, -1, -1).contiguous()
    return images, torch.tensor(data.target, dtype=torch.int64)
