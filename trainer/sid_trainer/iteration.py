"""One iteration of score identity distillation: a fake-score update, then a student update.

Source: arXiv 2509.25127. Both updates roll the student out anew, to the same number of steps k,
which all ranks share. Latents, noise levels and losses are fp32; only the networks compute in the
configured precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sid_trainer.conditions import Condition
from sid_trainer.config import DistillationConfig, StudentConfig
from sid_trainer.flow import training_noise_level
from sid_trainer.guidance import Velocity
from sid_trainer.losses import FAKE_SCORE_LOSS_SCALE, STUDENT_LOSS_SCALE
from sid_trainer.networks import Networks
from sid_trainer.noise import NoiseSource, Purpose, uniform_steps
from sid_trainer.objective import Draws, Prompts, fake_objective, student_objective
from sid_trainer.sampler import roll_out
from sid_trainer.teachers.base import Network, Teacher


@dataclass(frozen=True)
class MicroBatch:
    """What a rank computes at a time.

    Attributes:
        samples: places of its samples in the global batch, B of them.
        condition: their prompts, on the accelerator.
    """

    samples: Sequence[int]
    condition: Condition


@dataclass(frozen=True)
class IterationResult:
    """Losses of this rank's samples, unscaled, and gradient norms over all; scalars on the device.

    They are read only when metrics are due, so that an iteration never waits for the device.
    """

    fake_score_loss: Tensor
    student_loss: Tensor
    fake_gradient_norm: Tensor
    student_gradient_norm: Tensor


class Distiller:
    """Runs iterations on the three networks.

    Args:
        teacher: the adapter.
        networks: teacher, fake score and student.
        student: steps and noise mode.
        distillation: the loss.
        latent_shape: ``(C, H, W)``.
        empty: the empty prompt, once, on the accelerator.
        seed: the run's seed.
    """

    def __init__(
        self,
        teacher: Teacher,
        networks: Networks,
        student: StudentConfig,
        distillation: DistillationConfig,
        latent_shape: tuple[int, int, int],
        empty: Condition,
        seed: int,
    ) -> None:
        self.teacher = teacher
        self.networks = networks
        self.student = student
        self.latent_shape = latent_shape
        self._distillation = distillation
        self._empty = empty
        self._seed = seed

    def iterate(self, iteration: int, batch: Sequence[MicroBatch]) -> IterationResult:
        """Update fake score and student once; a collective.

        Args:
            iteration: iterations finished before this one.
            batch: this rank's micro-batches.
        """
        steps = uniform_steps(self._seed, iteration, self.student.steps)
        fake = [self._fake_update(iteration, steps, micro) for micro in batch]
        with self.networks.fake.frozen() as f, self.networks.teacher.frozen() as t:
            student = [self._student_update(iteration, steps, micro, f, t) for micro in batch]
        self.networks.update_average()
        return IterationResult(
            torch.stack(fake).mean(),
            torch.stack(student).mean(),
            self.networks.fake.gradient_norm,
            self.networks.student.gradient_norm,
        )

    def sample(self, network: Network, noise: NoiseSource, condition: Condition) -> Tensor:
        """Latents ``[B, C, H, W]`` of the student with all its steps, without gradient."""
        with torch.no_grad():
            return self._roll_out(network, noise, Purpose.PREVIEW, condition, self.student.steps)

    def _fake_update(self, iteration: int, steps: int, micro: MicroBatch) -> Tensor:
        noise = self._noise(iteration, micro)
        student = self.networks.student.training
        with torch.no_grad():
            x0 = self._roll_out(student, noise, Purpose.FAKE_ROLL_OUT, micro.condition, steps)
        loss = fake_objective(
            x0,
            self._draws(noise, Purpose.FAKE_NOISE, Purpose.FAKE_LEVEL),
            Prompts(micro.condition, self._empty),
            self._velocity(self.networks.fake.training),
            self._distillation,
        )
        self.networks.fake.accumulate(FAKE_SCORE_LOSS_SCALE * loss)
        return loss.detach()

    def _student_update(
        self, iteration: int, steps: int, micro: MicroBatch, fake: Network, teacher: Network
    ) -> Tensor:
        noise = self._noise(iteration, micro)
        student = self.networks.student.training
        x0 = self._roll_out(student, noise, Purpose.STUDENT_ROLL_OUT, micro.condition, steps)
        loss = student_objective(
            x0,
            self._draws(noise, Purpose.STUDENT_NOISE, Purpose.STUDENT_LEVEL),
            Prompts(micro.condition, self._empty),
            self._velocity(fake),
            self._velocity(teacher),
            self._distillation,
        )
        self.networks.student.accumulate(STUDENT_LOSS_SCALE * loss)
        return loss.detach()

    def _draws(self, noise: NoiseSource, epsilon: Purpose, level: Purpose) -> Draws:
        sigma = training_noise_level(noise.normal(level))
        return Draws(noise.normal(epsilon, self.latent_shape), sigma)

    def _roll_out(
        self,
        network: Network,
        noise: NoiseSource,
        purpose: Purpose,
        condition: Condition,
        steps: int,
    ) -> Tensor:
        velocity = self._velocity(network)
        return roll_out(
            lambda x, sigma: velocity(x, sigma, condition),
            lambda step: noise.normal(purpose, self.latent_shape, step),
            self.student,
            steps,
        )

    def _velocity(self, network: Network) -> Velocity:
        """A network in fp32 terms: latents go in and velocities come out as fp32."""
        dtype = self.teacher.dtype

        def velocity(x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
            return self.teacher.velocity(network, x.to(dtype), sigma, condition).float()

        return velocity

    def _noise(self, iteration: int, micro: MicroBatch) -> NoiseSource:
        return NoiseSource(self._seed, iteration, micro.samples, self.teacher.device)
