"""Classifier-free guidance of the score networks while training.

``v = v_0 + kappa (v_c - v_0)`` with ``v_0`` the velocity for the empty prompt. Three kappas: for
training the fake score, for evaluating it in the student's loss, and for the teacher there.
Networks distilled from guidance (FLUX.1-dev, SANA-Sprint) take a scale as an input, a part of
their condition: to them a positive kappa is given there, in one forward without the empty prompt.
The input is 1 otherwise, for the student too. Kappa 0 (no text) and negative ones, which no such
network was trained on as an input, are made of predictions with input 1 as for any network.
Sources: LSG arXiv 2406.01561; Zero-CFG and Anti-CFG arXiv 2505.12674.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sid_trainer.conditions import Condition
from sid_trainer.config import GuidanceConfig

UNGUIDED = 1.0
"""Guidance scale of the student: the prediction for the prompt as it is."""
Velocity = Callable[[Tensor, Tensor, Condition], Tensor]
"""``(x [B, C, H, W], sigma [B], condition of B) -> velocity [B, C, H, W]``."""


@dataclass(frozen=True)
class GuidanceScales:
    """The three kappas of a strategy."""

    fake_training: float
    fake: float
    teacher: float


def guidance_scales(guidance: GuidanceConfig) -> GuidanceScales:
    """Kappas of the configured strategy."""
    match guidance.strategy:
        case "LSG":
            return GuidanceScales(guidance.scale, guidance.scale, guidance.scale)
        case "ZeroCFG":
            return GuidanceScales(fake_training=0.0, fake=0.0, teacher=1.0)
        case "AntiCFG":
            return GuidanceScales(-guidance.scale, -guidance.scale, teacher=1.0)


def guided_velocity(
    velocity: Velocity,
    x: Tensor,
    sigma: Tensor,
    condition: Condition,
    empty: Condition,
    scale: float,
) -> Tensor:
    """Guided velocity ``[B, C, H, W]`` in one call of the network.

    Scale 1 needs only the prompts, 0 only the empty prompt, anything else one batch of 2B. A
    network with the scale as an input needs only the prompts for all above 0.

    Args:
        velocity: the network.
        x: noisy latents, ``[B, C, H, W]``.
        sigma: their noise levels, ``[B]``.
        condition: the prompts, B of them.
        empty: the empty prompt, once.
        scale: kappa.
    """
    batch = len(x)
    if condition.has_guidance and scale > 0:
        return velocity(x, sigma, condition.with_guidance(scale))
    if scale == 1:
        return velocity(x, sigma, condition)
    if scale == 0:
        return velocity(x, sigma, empty.expand(batch))
    both = Condition.cat([condition, empty.expand(batch)])
    out = velocity(torch.cat([x, x]), torch.cat([sigma, sigma]), both)
    with_prompt, without = out.chunk(2)
    return without + scale * (with_prompt - without)
