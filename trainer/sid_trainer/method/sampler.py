"""The few-step generator: how a student makes a sample, and the scheduler that does the same.

Only the last step that is asked for carries gradient. The student runs without guidance.
Noise levels are those of :func:`sid_trainer.method.flow.student_noise_levels`, in training and in
the exported pipeline alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sid_trainer.config import StudentConfig
from sid_trainer.method.flow import student_noise_levels

StudentVelocity = Callable[[Tensor, Tensor], Tensor]
"""``(x [B, C, H, W], sigma [B]) -> velocity [B, C, H, W]``, prompts bound inside."""
StepNoise = Callable[[int], Tensor]
"""Noise ``[B, C, H, W]`` of step i: 0 is the start, i > 0 what is mixed in before step i."""
OWN_SCHEDULER = "fixed_noise_scheduler.py"
"""Module of this package that is copied to students which :func:`needs_own_scheduler`."""


@dataclass(frozen=True)
class LastStep:
    """A roll-out before the last step that is asked for.

    Attributes:
        x: its noisy latent ``[B, C, H, W]``, without gradient.
        sigma: its noise level.
    """

    x: Tensor
    sigma: float

    def take(self, velocity: StudentVelocity) -> Tensor:
        """Clean latent ``x - sigma v(x, sigma)``, ``[B, C, H, W]``."""
        return _denoise(velocity, self.x, self.sigma)


def roll_out(
    velocity: StudentVelocity, noise: StepNoise, student: StudentConfig, stop_after: int
) -> Tensor:
    """Clean latent ``[B, C, H, W]`` of the student after some of its steps.

    The arguments are those of :func:`approach`. Only the last step carries gradient.
    """
    return approach(velocity, noise, student, stop_after).take(velocity)


@torch.no_grad()
def approach(
    velocity: StudentVelocity, noise: StepNoise, student: StudentConfig, stop_after: int
) -> LastStep:
    """All steps of a roll-out but the last, without gradient.

    Args:
        velocity: the student.
        noise: noise of each step; steps after the first are asked for only in mode ``fresh``.
        student: number of steps K and noise mode.
        stop_after: steps k of the roll-out, 1..K.
    """
    sigmas = student_noise_levels(student.steps)
    start = x = noise(0)
    for step in range(1, stop_after):
        sigma, following = sigmas[step - 1 : step + 1]
        clean = _denoise(velocity, x, sigma)
        match student.noise:
            case "fresh":
                mixed_in = noise(step)
            case "fixed":
                mixed_in = start
            case "ddim":
                mixed_in = (x - (1 - sigma) * clean) / sigma
        x = (1 - following) * clean + following * mixed_in
    return LastStep(x, sigmas[stop_after - 1])


def _denoise(velocity: StudentVelocity, x: Tensor, sigma: float) -> Tensor:
    return x - sigma * velocity(x, x.new_full((len(x),), sigma))


def scheduler_config(student: StudentConfig) -> dict[str, object]:
    """Config of the ``FlowMatchEulerDiscreteScheduler`` that samples as training does.

    ``shift_terminal`` makes its default grid for K steps ours; pipelines that pass the grid
    themselves (FLUX) give the same numbers. With ``stochastic_sampling`` its step is the mode
    ``fresh``, without it ``ddim``. Where :func:`needs_own_scheduler`, it is the config of the
    scheduler that goes with the student.
    """
    config: dict[str, object] = {
        "num_train_timesteps": 1000,
        "shift": 1.0,
        "use_dynamic_shifting": False,
        "stochastic_sampling": student.noise == "fresh",
    }
    if student.steps > 1:
        config["shift_terminal"] = 1 / student.steps
    return config


def needs_own_scheduler(student: StudentConfig) -> bool:
    """Whether no scheduler of diffusers samples as training does.

    That is mode ``fixed``, but for two steps or one: the first step starts at pure noise, so what
    it implies is the noise that it started with, and ``ddim`` is the same.
    """
    return student.noise == "fixed" and student.steps > 2
