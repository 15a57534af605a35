"""The training loop, the same for all teachers.

Rules this module keeps:

* What is due after an iteration is decided from its number alone, so that all ranks do the same
  collectives in the same order.
* An update that is not finite is skipped, so what a checkpoint holds is sound at any time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from sid_trainer.adversarial import RealSamples
from sid_trainer.conditions import Condition
from sid_trainer.config import RunConfig
from sid_trainer.data.encoding import EncodedPrompts
from sid_trainer.iteration import Distiller, MicroBatch
from sid_trainer.training_metrics import TrainingMetrics


class Services(Protocol):
    """What the loop calls on the way; each call is made on every rank."""

    def iteration(self, iteration: int, metrics: Mapping[str, float]) -> None:
        """``iteration`` iterations are finished; metrics are the newest that were read."""

    def samples(self, iteration: int) -> None:
        """Sample pictures are due; a collective."""

    def checkpoint(self, iteration: int) -> None:
        """A checkpoint is due; a collective."""


@dataclass(frozen=True)
class Schedule:
    """What is due after which iteration.

    Attributes:
        total: length of the run in iterations.
        samples_every: iterations between two sample grids.
        checkpoint_every: iterations between two checkpoints.
    """

    total: int
    samples_every: int
    checkpoint_every: int

    @classmethod
    def of(cls, config: RunConfig) -> Schedule:
        """Schedule of a run."""
        return cls(
            config.training.total_iterations,
            config.evaluation.every_iterations,
            config.checkpoint.every_iterations,
        )

    def samples_due(self, iteration: int) -> bool:
        """Whether sample pictures are due after ``iteration`` iterations."""
        return iteration == self.total or iteration % self.samples_every == 0

    def checkpoint_due(self, iteration: int) -> bool:
        """Whether a checkpoint is due after ``iteration`` iterations."""
        return iteration == self.total or iteration % self.checkpoint_every == 0


class RealImages(Protocol):
    """Real images of a rank's samples in any iteration, best asked for in order."""

    def of(self, iteration: int) -> tuple[Tensor, Condition]:
        """Latents ``[B, C, H, W]``, fp32, and their captions, both in host memory."""


@dataclass(frozen=True)
class Batches:
    """A rank's micro-batches of any iteration.

    Attributes:
        prompts: encoded prompts of the rank's samples.
        samples: their places in the global batch.
        micro_batch_size: samples computed at a time.
        distiller: for the device and type of conditions, and what an iteration needs.
        images: real images, for data-aided training.
    """

    prompts: EncodedPrompts
    samples: range
    micro_batch_size: int
    distiller: Distiller
    images: RealImages | None = None

    def of(self, iteration: int) -> list[MicroBatch]:
        """The micro-batches of an iteration."""
        teacher = self.distiller.teacher
        condition = self.prompts.condition(iteration).to(teacher.device, teacher.dtype)
        real = self._real(iteration)
        return [
            MicroBatch(self.samples[cut], condition[cut], None if real is None else real[cut])
            for cut in _cuts(len(self.samples), self.micro_batch_size)
        ]

    def _real(self, iteration: int) -> RealSamples | None:
        """Real images, once the adversarial part has joined."""
        if self.images is None or not self.distiller.phase(iteration).adversarial:
            return None
        teacher = self.distiller.teacher
        latents, captions = self.images.of(iteration)
        return RealSamples(latents.to(teacher.device), captions.to(teacher.device, teacher.dtype))


def run_loop(
    distiller: Distiller, batches: Batches, schedule: Schedule, services: Services, done: int
) -> None:
    """Train from ``done`` finished iterations to the end of the schedule; a collective.

    Raises:
        TrainerError: ``NumericalError`` on every rank when too many updates in a row were skipped.
    """
    metrics, networks = TrainingMetrics(), distiller.networks
    for iteration in range(done + 1, schedule.total + 1):
        metrics.add(distiller.iterate(iteration - 1, batches.of(iteration - 1)))
        networks.tell_skipped(iteration)
        if metrics.due or schedule.checkpoint_due(iteration):
            metrics.read()
        skipped = float(networks.skipped_updates)
        services.iteration(iteration, metrics.latest | {"skippedUpdates": skipped})
        if schedule.samples_due(iteration):
            services.samples(iteration)
        if schedule.checkpoint_due(iteration):
            services.checkpoint(iteration)


def _cuts(length: int, size: int) -> Iterator[slice]:
    for start in range(0, length, size):
        yield slice(start, start + size)
