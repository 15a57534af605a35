"""Classifier-free guidance of the score networks while training.

``v = v_0 + kappa (v_c - v_0)`` with ``v_0`` the velocity for the empty prompt; which kappa is used
where stands in :mod:`sid_trainer.method.guidance_scales`.
Networks distilled from guidance (FLUX.1-dev, SANA-Sprint) take a scale as an input, a part of
their condition: to them a positive kappa is given there, in one forward without the empty prompt.
The input is 1 otherwise, for the student too. Kappa 0 (no text) and negative ones, which no such
network was trained on as an input, are made of predictions with input 1 as for any network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sid_trainer.method.conditions import Condition

UNGUIDED = 1.0
"""Guidance scale of the student: the prediction for the prompt as it is."""
Velocity = Callable[[Tensor, Tensor, Condition], Tensor]
"""``(x [B, C, H, W], sigma [B], condition of B) -> velocity [B, C, H, W]``."""


def guided_velocity(
    velocity: Velocity,
    x: Tensor,
    sigma: Tensor,
    condition: Condition,
    empty: Condition,
    scale: float,
) -> Tensor:
    """Guided velocity ``[B, C, H, W]`` in one call of the network.

    Args:
        velocity: the network.
        x: noisy latents, ``[B, C, H, W]``.
        sigma: their noise levels, ``[B]``.
        condition: the prompts, B of them.
        empty: the empty prompt, once.
        scale: kappa.
    """
    conditions = guided_conditions(condition, empty, scale)
    if len(conditions) == 1:
        return velocity(x, sigma, conditions[0])
    out = velocity(torch.cat([x, x]), torch.cat([sigma, sigma]), Condition.cat(conditions))
    return combine(out.chunk(2), scale)


def guided_conditions(condition: Condition, empty: Condition, scale: float) -> list[Condition]:
    """What a network is asked for a guided velocity: B conditions each, the prompts first.

    Scale 1 needs only the prompts, 0 only the empty prompt, anything else both. A network with
    the scale as an input needs only the prompts for all above 0.
    """
    if condition.has_guidance and scale > 0:
        return [condition.with_guidance(scale)]
    if scale == 1:
        return [condition]
    without = empty.expand(len(condition))
    return [without] if scale == 0 else [condition, without]


def combine(velocities: Sequence[Tensor], scale: float) -> Tensor:
    """Guided velocity of the predictions for :func:`guided_conditions`."""
    if len(velocities) == 1:
        return velocities[0]
    with_prompt, without = velocities
    return without + scale * (with_prompt - without)
