"""The two objectives of score identity distillation, of networks and draws given.

Pure: a network is any velocity function, noise and noise levels are arguments, and the dtype is
that of the latents. Source: arXiv 2509.25127.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from sid_trainer.conditions import Condition
from sid_trainer.config import DistillationConfig
from sid_trainer.flow import add_noise, clean_estimate
from sid_trainer.guidance import Velocity, guidance_scales, guided_velocity
from sid_trainer.losses import fake_score_loss, student_loss
from sid_trainer.weighting import loss_weight


@dataclass(frozen=True)
class Prompts:
    """Text of a batch.

    Attributes:
        condition: the prompts, B of them.
        empty: the empty prompt, once.
    """

    condition: Condition
    empty: Condition


@dataclass(frozen=True)
class Draws:
    """How a batch is noised.

    Attributes:
        noise: ``[B, C, H, W]``.
        sigma: noise levels ``[B]``.
    """

    noise: Tensor
    sigma: Tensor


def fake_objective(
    x0: Tensor, draws: Draws, prompts: Prompts, fake: Velocity, distillation: DistillationConfig
) -> Tensor:
    """Loss of the fake score on the student's samples ``x0 [B, C, H, W]``, a scalar."""
    x = add_noise(x0.detach(), draws.noise, draws.sigma)
    scale = guidance_scales(distillation.guidance).fake_training
    velocity = guided_velocity(fake, x, draws.sigma, prompts.condition, prompts.empty, scale)
    return fake_score_loss(velocity, x0, draws.noise)


def student_objective(
    x0: Tensor,
    draws: Draws,
    prompts: Prompts,
    fake: Velocity,
    teacher: Velocity,
    distillation: DistillationConfig,
) -> Tensor:
    """Loss of the student by its samples ``x0 [B, C, H, W]``, a scalar.

    Gradient reaches ``x0`` directly and through the inputs of both score networks.
    """
    x, sigma = add_noise(x0, draws.noise, draws.sigma), draws.sigma

    def estimate(network: Velocity, scale: float) -> Tensor:
        velocity = guided_velocity(network, x, sigma, prompts.condition, prompts.empty, scale)
        return clean_estimate(x, velocity, sigma)

    scales = guidance_scales(distillation.guidance)
    f_fake = estimate(fake, scales.fake)
    f_teacher = estimate(teacher, scales.teacher)
    weight = loss_weight(distillation.weighting, sigma, x0, f_teacher)
    return student_loss(x0, f_teacher, f_fake, weight, distillation.alpha)
