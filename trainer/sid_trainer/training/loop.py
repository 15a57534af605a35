"""The training loop, the same for all teachers.

Rules this module keeps:

* What is due after an iteration is decided from its number alone, so that all ranks do the same
  collectives in the same order.
* The checkpoint comes first: what takes long or may fail (pictures, a measurement) comes after it.
* An update that is not finite is skipped, so what a checkpoint holds is sound at any time.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Protocol

from sid_trainer.chunks import cuts
from sid_trainer.config import RunConfig
from sid_trainer.contract import TrainerError
from sid_trainer.data.encoding import EncodedPrompts
from sid_trainer.data.images.latents import RealImages
from sid_trainer.engine.iteration import Distiller, MicroBatch
from sid_trainer.engine.training_metrics import TrainingMetrics
from sid_trainer.method.adversarial import RealSamples
from sid_trainer.process.group import SharedError
from sid_trainer.transfer import to_device

logger = logging.getLogger(__name__)


class Services(Protocol):
    """What the loop calls on the way; each call is made on every rank."""

    def iteration(self, iteration: int, metrics: Mapping[str, float]) -> None:
        """``iteration`` iterations are finished; metrics are the newest that were read."""

    def samples(self, iteration: int) -> None:
        """Sample pictures are due; a collective."""

    def checkpoint(self, iteration: int) -> None:
        """A checkpoint is due, and may be stored while training goes on; a collective."""

    def secure(self, iteration: int) -> None:
        """A checkpoint is to be stored first, if the store answers; a collective."""

    def keep(self, iteration: int) -> None:
        """What is trained is to be stored before anything else happens; a collective."""

    def meet(self, iteration: int) -> None:
        """All ranks are here, every few seconds; a collective."""

    def metrics(self, iteration: int) -> None:
        """A measurement of the student is due; a collective.

        It ends the run where a pod is to end.
        """


@dataclass(frozen=True)
class Schedule:
    """What is due after which iteration.

    Attributes:
        total: length of the run in iterations.
        samples_every: iterations between two sample grids.
        checkpoint_every: iterations between two checkpoints.
        metrics_every: iterations between two measurements of the student, if there are any.
    """

    total: int
    samples_every: int
    checkpoint_every: int
    metrics_every: int | None = None

    @classmethod
    def of(cls, config: RunConfig) -> Schedule:
        """Schedule of a run."""
        metrics = config.evaluation.metrics
        return cls(
            config.training.total_iterations,
            config.evaluation.every_iterations,
            config.checkpoint.every_iterations,
            None if metrics is None else metrics.every_iterations,
        )

    def samples_due(self, iteration: int) -> bool:
        """Whether sample pictures are due after ``iteration`` iterations."""
        return iteration >= self.total or iteration % self.samples_every == 0

    def checkpoint_due(self, iteration: int) -> bool:
        """Whether a checkpoint is due after ``iteration`` iterations."""
        return iteration == self.total or iteration % self.checkpoint_every == 0

    def metrics_due(self, iteration: int) -> bool:
        """Whether a measurement is due on the way; that of the end is not the loop's."""
        every = self.metrics_every
        return every is not None and iteration % every == 0 and 0 < iteration < self.total


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
            for cut in cuts(len(self.samples), self.micro_batch_size)
        ]

    def _real(self, iteration: int) -> RealSamples | None:
        """Real images, once the adversarial part has joined."""
        if self.images is None or not self.distiller.phase(iteration).adversarial:
            return None
        teacher = self.distiller.teacher
        latents, captions = self.images.of(iteration)
        captions = captions.to(teacher.device, teacher.dtype)
        return RealSamples(to_device(latents, teacher.device), captions)


class Watch(Protocol):
    """Watches what is done within a context: :meth:`sid_trainer.watch.watchdog.Watchdog.watch`."""

    def __call__(self, name: str, *, paced: bool = True) -> AbstractContextManager[object]:
        """Expect it to be finished in time; ``paced`` where it is one of many that are alike."""


def unwatched(name: str, *, paced: bool = True) -> AbstractContextManager[object]:
    """No watch at all."""
    del name, paced
    return nullcontext()


def run_loop(
    distiller: Distiller,
    batches: Batches,
    schedule: Schedule,
    services: Services,
    done: int,
    watch: Watch = unwatched,
) -> None:
    """Train from ``done`` finished iterations to the end of the schedule; a collective.

    Args:
        distiller: makes an iteration.
        batches: of each iteration.
        schedule: what is due when.
        services: what is called on the way.
        done: iterations finished before.
        watch: of a :class:`~sid_trainer.watch.watchdog.Watchdog`. Batches are made at no pace: some
            wait for images to be fetched and encoded. Checkpoints and measurements are not watched:
            how long they take depends on the storage and on what is measured.

    Raises:
        TrainerError: ``NumericalError`` on every rank when too many updates in a row were skipped,
            ``InvalidData`` and others when images or encodings cannot be used or had; a checkpoint
            was written before.
    """
    metrics, networks = TrainingMetrics(), distiller.networks
    for iteration in range(done + 1, schedule.total + 1):
        with (
            _keeping(iteration - 1, done, services),
            watch(f"the data of iteration {iteration}", paced=False),
        ):
            batch = batches.of(iteration - 1)
        with watch(f"iteration {iteration}"):
            metrics.add(distiller.iterate(iteration - 1, batch))
            del batch  # not to be there beside the next one
            meeting = metrics.due or schedule.checkpoint_due(iteration)
            if meeting:
                metrics.read()
        # Where all updates were left out, nothing was learned, and the start itself may be bad.
        with _keeping(iteration, done + networks.skipped_in_a_row, services):
            networks.tell_skipped(iteration)
        skipped = float(networks.skipped_updates)
        services.iteration(iteration, metrics.latest | {"skippedUpdates": skipped})
        if meeting:
            services.meet(iteration)
        _what_is_due(schedule, services, iteration)


def _what_is_due(schedule: Schedule, services: Services, iteration: int) -> None:
    """Store, draw and measure what is due after an iteration, in this order."""
    if iteration == schedule.total:
        services.keep(iteration)
    elif schedule.metrics_due(iteration):
        services.secure(iteration)
    elif schedule.checkpoint_due(iteration):
        services.checkpoint(iteration)
    if schedule.samples_due(iteration):
        services.samples(iteration)
    if schedule.metrics_due(iteration):
        services.metrics(iteration)


@contextmanager
def _keeping(iteration: int, done: int, services: Services) -> Iterator[None]:
    """Store a checkpoint of what is trained when all ranks fail together.

    Batches are made before anything changes, and updates that are not finite are left out: what is
    trained is sound. What went wrong first is what the user is told.

    Args:
        iteration: finished ones.
        done: those of them that need not be kept.
        services: keep them.
    """
    try:
        yield
    except SharedError:
        if iteration > done:
            try:
                services.keep(iteration)
            except TrainerError as error:
                logger.warning("what was trained last is lost: %s", error)
        raise
