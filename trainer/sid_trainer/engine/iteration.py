"""One iteration of score identity distillation: a fake-score update, then a student update.

Source: arXiv 2509.25127. Both updates roll the student out to the same number of steps k, which
all ranks share; each rolls it out anew unless they share the roll-out. Latents, noise levels and
losses are fp32; only the networks compute in the configured precision.

Rules this module keeps:

* What an iteration does is decided from its number and the settings alone, so alike on all ranks.
* Nothing waits for the device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from sid_trainer.config import DistillationConfig, StudentConfig, TrainingConfig
from sid_trainer.engine.networks import Networks
from sid_trainer.method.adversarial import Discriminator, Phase, RealSamples, phase
from sid_trainer.method.conditions import Condition
from sid_trainer.method.flow import training_noise_level
from sid_trainer.method.guidance import Velocity
from sid_trainer.method.losses import FAKE_SCORE_LOSS_SCALE, STUDENT_LOSS_SCALE
from sid_trainer.method.noise import NoiseSource, Purpose, uniform_steps
from sid_trainer.method.objective import (
    Draws,
    Losses,
    PromptPair,
    fake_objective,
    student_objective,
)
from sid_trainer.method.sampler import StepNoise, StudentVelocity, approach, roll_out
from sid_trainer.teachers.base import Network, Teacher


@dataclass(frozen=True)
class MicroBatch:
    """What a rank computes at a time.

    Attributes:
        samples: places of its samples in the global batch, B of them.
        condition: their prompts, on the accelerator.
        real: as many real images, on the accelerator; needed where the adversarial part has
            joined (:meth:`Distiller.phase`).
    """

    samples: Sequence[int]
    condition: Condition
    real: RealSamples | None = None


@dataclass(frozen=True)
class IterationResult:
    """What an iteration measured: scalars on the device by the names of their metrics.

    Losses are of this rank's samples, unscaled; gradient norms are over all. What the iteration did
    not do is absent. They are read only when metrics are due, so that an iteration never waits for
    the device.
    """

    metrics: Mapping[str, Tensor]


class Distiller:
    """Runs iterations on the three networks.

    Args:
        teacher: the adapter.
        networks: teacher, fake score and student.
        student: steps and noise mode.
        distillation: the loss.
        training: batch size, seed, and whether both updates share a roll-out.
        latent_shape: ``(C, H, W)``.
        empty: the empty prompt, once, on the accelerator.
    """

    def __init__(
        self,
        teacher: Teacher,
        networks: Networks,
        student: StudentConfig,
        distillation: DistillationConfig,
        training: TrainingConfig,
        latent_shape: tuple[int, int, int],
        empty: Condition,
    ) -> None:
        self.teacher = teacher
        self.networks = networks
        self.student = student
        self.latent_shape = latent_shape
        self._distillation = distillation
        self._training = training
        self._empty = empty

    def phase(self, iteration: int) -> Phase:
        """What an iteration does; ``iteration`` are finished before it."""
        return phase(self._distillation.adversarial, iteration * self._training.batch_size)

    def iterate(self, iteration: int, batch: Sequence[MicroBatch]) -> IterationResult:
        """Update fake score and student once; a collective.

        Args:
            iteration: iterations finished before this one.
            batch: this rank's micro-batches.
        """
        self.networks.begin(iteration)
        steps = uniform_steps(self._training.seed, iteration, self.student.steps)
        does = self.phase(iteration)
        fake, student_updates = [], []
        for micro in batch:
            noise = self._noise(iteration, micro)
            x0, samples = self._samples(noise, micro, steps, does, alone=len(batch) == 1)
            fake.append(self._fake_update(noise, micro, x0, does))
            student_updates.append(partial(self._student_update, noise, micro, samples, does))
        of_fake = _mean(fake) | {"fakeGradNorm": self.networks.fake.gradient_norm}
        of_student = self._student_updates(student_updates) if does.student else {}
        return IterationResult(of_student | of_fake)

    def sample(self, network: Network, noise: NoiseSource, condition: Condition) -> Tensor:
        """Latents ``[B, C, H, W]`` of the student with all its steps, without gradient."""
        velocity = self._student_velocity(network, condition)
        draw = self._step_noise(noise, Purpose.PREVIEW)
        with torch.no_grad():
            return roll_out(velocity, draw, self.student, self.student.steps)

    def _samples(
        self, noise: NoiseSource, micro: MicroBatch, steps: int, does: Phase, *, alone: bool
    ) -> tuple[Tensor, Callable[[], Tensor]]:
        """Samples ``[B, C, H, W]`` for the fake score's update, and what makes the student's.

        A shared roll-out keeps the graph of its last step for the student when the micro-batch is
        alone. The graphs of several would have to wait in memory together, so these take the last
        step once more.
        """
        velocity = self._student_velocity(self.networks.student.training, micro.condition)
        draw = partial(self._step_noise, noise)
        if not (self._training.shared_roll_out and does.student):
            with torch.no_grad():
                x0 = roll_out(velocity, draw(Purpose.FAKE_ROLL_OUT), self.student, steps)
            anew = draw(Purpose.STUDENT_ROLL_OUT)
            return x0, partial(roll_out, velocity, anew, self.student, steps)
        last = approach(velocity, draw(Purpose.STUDENT_ROLL_OUT), self.student, steps)
        with torch.set_grad_enabled(alone):
            x0 = last.take(velocity)
        return x0, (lambda: x0) if alone else partial(last.take, velocity)

    def _fake_update(
        self, noise: NoiseSource, micro: MicroBatch, x0: Tensor, does: Phase
    ) -> Mapping[str, Tensor]:
        draws = self._draws(noise, Purpose.FAKE_NOISE, Purpose.FAKE_LEVEL)
        prompts = PromptPair(micro.condition, self._empty)
        fake = self._velocity(self.networks.fake.training)
        if does.adversarial:
            losses = self._discriminator.fake_objective(x0, draws, prompts, micro.real, fake)
        else:
            loss = fake_objective(x0, draws, prompts, fake, self._distillation)
            losses = Losses(loss, {"fakeScoreLoss": loss.detach()})
        self.networks.fake.accumulate(FAKE_SCORE_LOSS_SCALE * losses.total)
        return losses.parts

    def _student_updates(
        self, updates: Sequence[Callable[[Network, Network], Mapping[str, Tensor]]]
    ) -> dict[str, Tensor]:
        """All micro-batches of the student's update, then its average."""
        with self.networks.fake.frozen() as fake, self.networks.teacher.frozen() as teacher:
            losses = [update(fake, teacher) for update in updates]
        self.networks.update_average()
        return _mean(losses) | {"generatorGradNorm": self.networks.student.gradient_norm}

    def _student_update(
        self,
        noise: NoiseSource,
        micro: MicroBatch,
        samples: Callable[[], Tensor],
        does: Phase,
        fake: Network,
        teacher: Network,
    ) -> Mapping[str, Tensor]:
        x0 = samples()
        draws = self._draws(noise, Purpose.STUDENT_NOISE, Purpose.STUDENT_LEVEL)
        prompts = PromptPair(micro.condition, self._empty)
        scores = self._velocity(fake), self._velocity(teacher)
        if does.adversarial:
            losses = self._discriminator.student_objective(x0, draws, prompts, *scores)
        else:
            loss = student_objective(x0, draws, prompts, *scores, self._distillation)
            losses = Losses(loss, {"generatorLoss": loss.detach()})
        self.networks.student.accumulate(STUDENT_LOSS_SCALE * losses.total)
        return losses.parts

    @property
    def _discriminator(self) -> Discriminator:
        fake = self.networks.fake.module
        return Discriminator(fake, self.teacher.output_projection, self._distillation)

    def _draws(self, noise: NoiseSource, epsilon: Purpose, level: Purpose) -> Draws:
        sigma = training_noise_level(noise.normal(level))
        return Draws(noise.normal(epsilon, self.latent_shape), sigma)

    def _step_noise(self, noise: NoiseSource, purpose: Purpose) -> StepNoise:
        return lambda step: noise.normal(purpose, self.latent_shape, step)

    def _student_velocity(self, network: Network, condition: Condition) -> StudentVelocity:
        velocity = self._velocity(network)
        return lambda x, sigma: velocity(x, sigma, condition)

    def _velocity(self, network: Network) -> Velocity:
        return self.teacher.fp32_velocity(network)

    def _noise(self, iteration: int, micro: MicroBatch) -> NoiseSource:
        return NoiseSource(self._training.seed, iteration, micro.samples, self.teacher.device)


def _mean(of_micro_batches: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Losses of an iteration: means over its micro-batches, by name."""
    return {
        name: torch.stack([losses[name] for losses in of_micro_batches]).mean()
        for name in of_micro_batches[0]
    }
