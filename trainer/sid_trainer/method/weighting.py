"""Weights of the student's loss over the noise level.

Pure functions; no gradient flows through a weight. Source: arXiv 2509.25127; ``sid`` is the
weight of score identity distillation, arXiv 2404.04057.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from sid_trainer.config import Weighting

SID_FLOOR = 1e-5
"""Least mean distance that the weighting ``sid`` divides by."""

_OF_NOISE_LEVEL: dict[Weighting, Callable[[Tensor], Tensor]] = {
    "one-minus-sigma": lambda sigma: 1 - sigma,
    "one-minus-sigma-squared": lambda sigma: (1 - sigma) ** 2,
    "inverse-sigma": lambda sigma: 1 / sigma,
    "inverse-sigma-squared": lambda sigma: 1 / sigma**2,
    "sqrt-snr": lambda sigma: (1 - sigma) / sigma,
    "snr": lambda sigma: ((1 - sigma) / sigma) ** 2,
}


def loss_weight(name: Weighting, sigma: Tensor, x: Tensor, teacher: Tensor) -> Tensor:
    """Weight of each sample, ``[B]``, without gradient.

    Args:
        name: the configured weighting.
        sigma: noise levels, ``[B]``.
        x: the student's samples, ``[B, C, H, W]``; used by ``sid`` only.
        teacher: the teacher's clean estimates, ``[B, C, H, W]``; used by ``sid`` only.
    """
    if name == "sid":
        distance = (x - teacher).detach().abs().flatten(1).mean(1)
        return 1 / distance.clamp_min(SID_FLOOR)
    return _OF_NOISE_LEVEL[name](sigma.detach())
