"""Flow matching on the straight path between data and noise.

Notation: ``sigma`` in [0, 1] is the noise level and the time, ``x0`` a clean latent, ``noise``
a standard normal one. All teachers predict the velocity ``noise - x0``. These functions keep the
dtype of their inputs; callers hold latents and noise levels in fp32.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

SIGMA_LOGIT_MEAN = math.log(2.0)
SIGMA_LOGIT_STD = 1.6


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """Shape values ``[B]`` so that they multiply ``like`` ``[B, C, H, W]``."""
    return values.reshape(-1, *(1,) * (like.ndim - 1))


def add_noise(x0: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """Noisy latent ``(1 - sigma) x0 + sigma noise``, ``[B, C, H, W]``; ``sigma`` is ``[B]``."""
    level = per_sample(sigma, x0)
    return (1 - level) * x0 + level * noise


def clean_estimate(x: Tensor, velocity: Tensor, sigma: Tensor) -> Tensor:
    """Clean latent ``f = x - sigma v``, ``[B, C, H, W]``; ``sigma`` is ``[B]``."""
    return x - per_sample(sigma, x) * velocity


def training_noise_level(normal: Tensor) -> Tensor:
    """Noise levels of training from standard normal numbers, ``[B]`` in (0, 1).

    ``sigmoid(N(ln 2, 1.6^2))``: SiD-DiT, arXiv 2509.25127.
    """
    return torch.sigmoid(SIGMA_LOGIT_MEAN + SIGMA_LOGIT_STD * normal)


def student_noise_levels(steps: int) -> tuple[float, ...]:
    """Noise levels ``1 - i/K`` at which a K-step student denoises: 1, .75, .5, .25 for K = 4."""
    return tuple(1 - i / steps for i in range(steps))
