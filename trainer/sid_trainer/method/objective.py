"""The two objectives of score identity distillation, of networks and draws given.

Pure: a network is any velocity function, noise and noise levels are arguments, and the dtype is
that of the latents. Source: arXiv 2509.25127.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from sid_trainer.config import DistillationConfig
from sid_trainer.method.conditions import Condition
from sid_trainer.method.flow import add_noise, clean_estimate
from sid_trainer.method.guidance import Velocity, guided_velocity
from sid_trainer.method.guidance_scales import guidance_scales
from sid_trainer.method.losses import fake_score_loss, student_loss
from sid_trainer.method.weighting import loss_weight


@dataclass(frozen=True)
class PromptPair:
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


@dataclass(frozen=True)
class Losses:
    """Losses of an update.

    Attributes:
        total: what is differentiated, a scalar.
        parts: what it is made of, before the settings' weights, by the names of their metrics;
            scalars without gradient.
    """

    total: Tensor
    parts: Mapping[str, Tensor]


def fake_objective(
    x0: Tensor, draws: Draws, prompts: PromptPair, fake: Velocity, distillation: DistillationConfig
) -> Tensor:
    """Loss of the fake score on the student's samples ``x0 [B, C, H, W]``, a scalar."""
    x = add_noise(x0.detach(), draws.noise, draws.sigma)
    scale = guidance_scales(distillation.guidance).fake_training
    velocity = guided_velocity(fake, x, draws.sigma, prompts.condition, prompts.empty, scale)
    return fake_score_loss(velocity, x0, draws.noise)


@dataclass(frozen=True)
class StudentTerms:
    """What the student's loss is made of.

    Attributes:
        teacher: clean estimates f_T, ``[B, C, H, W]``.
        fake: clean estimates f_F, ``[B, C, H, W]``.
        weight: weight of each sample, ``[B]``, without gradient.
    """

    teacher: Tensor
    fake: Tensor
    weight: Tensor


def student_objective(
    x0: Tensor,
    draws: Draws,
    prompts: PromptPair,
    fake: Velocity,
    teacher: Velocity,
    distillation: DistillationConfig,
) -> Tensor:
    """Loss of the student by its samples ``x0 [B, C, H, W]``, a scalar.

    Gradient reaches ``x0`` directly and through the inputs of both score networks.
    """
    terms = student_terms(x0, draws, prompts, fake, teacher, distillation)
    return student_loss(x0, terms.teacher, terms.fake, terms.weight, distillation.alpha)


def student_terms(
    x0: Tensor,
    draws: Draws,
    prompts: PromptPair,
    fake: Velocity,
    teacher: Velocity,
    distillation: DistillationConfig,
) -> StudentTerms:
    """Estimates of both scores for the student's samples ``x0 [B, C, H, W]``, and the weight."""
    x, sigma = add_noise(x0, draws.noise, draws.sigma), draws.sigma

    def estimate(network: Velocity, scale: float) -> Tensor:
        velocity = guided_velocity(network, x, sigma, prompts.condition, prompts.empty, scale)
        return clean_estimate(x, velocity, sigma)

    scales = guidance_scales(distillation.guidance)
    f_fake = estimate(fake, scales.fake)
    f_teacher = estimate(teacher, scales.teacher)
    weight = loss_weight(distillation.weighting, sigma, x0, f_teacher)
    return StudentTerms(f_teacher, f_fake, weight)
