"""The training loop, the same for all teachers.

Rules this module keeps:

* What is due after an iteration is decided from its number alone, so that all ranks do the same
  collectives in the same order.
* Metrics are read, and so checked to be finite, before a checkpoint is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from sid_trainer.config import RunConfig
from sid_trainer.data.encoding import EncodedPrompts
from sid_trainer.iteration import Distiller, MicroBatch
from sid_trainer.networks import NotFiniteError
from sid_trainer.training_metrics import TrainingMetrics, not_finite


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


@dataclass(frozen=True)
class Batches:
    """A rank's micro-batches of any iteration.

    Attributes:
        prompts: encoded prompts of the rank's samples.
        samples: their places in the global batch.
        micro_batch_size: samples computed at a time.
        distiller: for the device and type of conditions.
    """

    prompts: EncodedPrompts
    samples: range
    micro_batch_size: int
    distiller: Distiller

    def of(self, iteration: int) -> list[MicroBatch]:
        """The micro-batches of an iteration."""
        teacher = self.distiller.teacher
        condition = self.prompts.condition(iteration).to(teacher.device, teacher.dtype)
        return [
            MicroBatch(self.samples[cut], condition[cut])
            for cut in _cuts(len(self.samples), self.micro_batch_size)
        ]


def run_loop(
    distiller: Distiller, batches: Batches, schedule: Schedule, services: Services, done: int
) -> None:
    """Train from ``done`` finished iterations to the end of the schedule; a collective.

    Raises:
        TrainerError: ``NumericalError`` on every rank when losses or gradients are not finite.
    """
    metrics = TrainingMetrics()
    for iteration in range(done + 1, schedule.total + 1):
        try:
            result = distiller.iterate(iteration - 1, batches.of(iteration - 1))
        except NotFiniteError as error:
            raise not_finite(iteration, str(error)) from error
        metrics.add(iteration, result)
        if metrics.due or schedule.checkpoint_due(iteration):
            metrics.read()
        services.iteration(iteration, metrics.latest)
        if schedule.samples_due(iteration):
            services.samples(iteration)
        if schedule.checkpoint_due(iteration):
            services.checkpoint(iteration)


def _cuts(length: int, size: int) -> Iterator[slice]:
    for start in range(0, length, size):
        yield slice(start, start + size)
