"""What the first rank tells the world: in the log, over HTTP, in the storage, to its launcher.

Rules this module keeps:

* Metrics given as tensors are read only when a report is due, so an iteration does not wait for
  the accelerator.
* A number that is not finite is not reported as one: JSON has none, and the loop decides what it
  means.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime

from sid_trainer.config import RunConfig
from sid_trainer.contract import CheckpointRef, ProgressReport, Stage, TerminationRecord
from sid_trainer.process.failures import shortened
from sid_trainer.process.run_directory import RunDirectory
from sid_trainer.process.termination import termination_log, write_record
from sid_trainer.storage import Storage
from sid_trainer.telling.console import Display
from sid_trainer.telling.metrics_stream import MetricsStream
from sid_trainer.telling.progress import ProgressServer, Throughput, seconds_left
from sid_trainer.telling.reporter import Reporter

REPORT_SECONDS = 2.0
"""Time between two reports of a running iteration count."""
SHOW_SECONDS = 5.0
"""Time between two lines in the log."""


@dataclass(frozen=True)
class _Sinks:
    """Where reports go."""

    display: Display
    stream: MetricsStream
    server: ProgressServer | None
    directory: RunDirectory | None


class FirstRankReporter(Reporter):
    """Keeps the run's report up to date and hands it to log, endpoint, storage and launcher.

    Args:
        config: the run.
        storage: its folder.
        attempt: number of this start.
        directory: the launcher's folder, if there is a launcher.
        clock: seconds, monotonic.
        patient: ``storage`` with the patience of a commit; the same by default.
    """

    def __init__(
        self,
        config: RunConfig,
        storage: Storage,
        attempt: int,
        directory: RunDirectory | None,
        clock: Callable[[], float] = time.monotonic,
        patient: Storage | None = None,
    ) -> None:
        super().__init__(directory)
        self._batch, self._clock = config.training.batch_size, clock
        self._report = ProgressReport(
            attempt=attempt,
            stage="loading",
            iterations=config.training.total_iterations,
            time=_now(),
        )
        self._throughput = Throughput(clock=clock)
        self._report_due = self._show_due = clock()
        self._evaluated: dict[str, float] = {}
        launch = config.launch
        self._sinks = _Sinks(
            Display(self._report.iterations),
            MetricsStream(storage, attempt, clock, patient=patient),
            ProgressServer(launch.progress_host, launch.progress_port)
            if launch.progress_port
            else None,
            directory,
        )
        self._sinks.display.say(f"attempt {attempt} of run {config.name}, in {storage.uri()}")
        self._publish()

    @property
    def report(self) -> ProgressReport:
        """The newest report."""
        return self._report

    def stage(self, stage: Stage) -> None:
        """Tell the stage."""
        if stage == "training":
            self._throughput.update(self._report.images)
        self._update(stage=stage)
        self._sinks.display.say(stage)

    def resumed(self, ref: CheckpointRef) -> None:
        """Tell where training goes on."""
        images = ref.iteration * self._batch
        self._update(iteration=ref.iteration, images=images, checkpoint=ref)
        self._sinks.display.say(f"resumed after iteration {ref.iteration} from {ref.uri}")

    def iteration(self, iteration: int, metrics: Mapping[str, float]) -> None:
        """Tell the iteration when a report is due, and always the last one."""
        now, last = self._clock(), iteration >= self._report.iterations
        if now < self._report_due and not last:
            return
        self._report_due = now + REPORT_SECONDS
        images = iteration * self._batch
        rate = self._throughput.update(images)
        current = _finite(metrics)
        left = seconds_left((self._report.iterations - iteration) * self._batch, rate)
        self._update(
            iteration=iteration,
            images=images,
            images_per_second=rate,
            eta_seconds=left,
            metrics=current | self._evaluated,
        )
        self._sinks.stream.add(self._report, current)
        if now >= self._show_due or last:
            self._show_due = now + SHOW_SECONDS
            self._sinks.display.show(self._report)

    def flush(self) -> None:
        """Store the metrics, with the patience of the commit that follows."""
        self._sinks.stream.flush(patiently=True)

    def checkpoint(self, ref: CheckpointRef) -> None:
        """Tell the checkpoint, also in the termination message."""
        super().checkpoint(ref)
        self._update(checkpoint=ref, checkpoint_problem=None)
        write_record(TerminationRecord(state="running", progress=self._report), termination_log())
        self._sinks.display.say(f"checkpoint {ref.uri}")

    def checkpoint_problem(self, problem: str) -> None:
        """Tell the problem until a checkpoint is stored."""
        self._update(checkpoint_problem=shortened(problem))
        self._sinks.display.say(problem)

    def samples(self, uri: str) -> None:
        """Tell where the newest samples are."""
        self._update(samples_uri=uri)
        self._sinks.display.say(f"samples {uri}")

    def alive(self) -> None:
        """Renew the report's time."""
        self._update()

    def evaluated(self, iteration: int, metrics: Mapping[str, float]) -> None:
        """Tell the measurement, in every report from now on and once in the stream."""
        self.measured_before(metrics)
        images = iteration * self._batch
        measured = self._report.model_copy(update={"iteration": iteration, "images": images})
        self._sinks.stream.add(measured, _finite(metrics))
        numbers = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        self._sinks.display.say(f"evaluation: {numbers}")

    def measured_before(self, metrics: Mapping[str, float]) -> None:
        """Tell the metrics in every report from now on."""
        self._evaluated |= _finite(metrics)
        self._update(metrics=self._report.metrics | self._evaluated)

    def student(self, uri: str) -> None:
        """Tell where the student is."""
        self._update(student_uri=uri)
        self._sinks.display.say(f"student {uri}")

    def report_page(self, uri: str) -> None:
        """Tell where the report is."""
        self._sinks.display.say(f"report {uri}")

    def close(self) -> None:
        """Write the rest of the metrics, then stop serving."""
        with ExitStack() as stack:
            stack.callback(self._sinks.display.close)
            if self._sinks.server is not None:
                stack.callback(self._sinks.server.close)
            self._sinks.stream.flush()

    def _update(self, **changes: object) -> None:
        self._report = self._report.model_copy(update={**changes, "time": _now()})
        self._publish()

    def _publish(self) -> None:
        if self._sinks.server is not None:
            self._sinks.server.publish(self._report)
        if self._sinks.directory is not None:
            self._sinks.directory.write_progress(self._report)


def open_reporter(
    config: RunConfig, storage: Storage, rank: int, attempt: int, patient: Storage | None = None
) -> Reporter:
    """The reporter of a rank; a context manager.

    Args:
        config: the run.
        storage: its folder.
        rank: this process's rank.
        attempt: number of this start.
        patient: ``storage`` with the patience of a commit; the same by default.

    Raises:
        TrainerError: when rank 0 cannot serve its progress.
    """
    directory = RunDirectory.from_environment()
    if rank != 0:
        return Reporter(directory)
    return FirstRankReporter(config, storage, attempt, directory, patient=patient)


def _finite(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def _now() -> datetime:
    return datetime.now(UTC)
