"""The metrics of an attempt as JSON lines in the run's storage.

Rules this module keeps:

* An object store cannot append: lines are gathered and written as numbered parts,
  ``metrics/attempt-0001/part-00000.jsonl`` and so on, each written once and bounded in size.
* Training does not wait for the store: a part that is due is written in a thread, one at a time.
* A store that does not answer delays lines, and says so; it neither loses them nor stops the run
  until more than :data:`MAX_WAITING` lines wait. One that refuses is told at the next line.
* Who asks for the lines to be stored (:meth:`MetricsStream.flush`) is told when they are not: a
  checkpoint is not committed then, as a run that goes on from it never tells of them again.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping

from sid_trainer.checkpoint.attempts import metrics_folder
from sid_trainer.contract import FailureReason, ProgressReport, TrainerError
from sid_trainer.storage import Storage

FLUSH_SECONDS = 60.0
"""Age of the oldest line at which a part is written: a day makes 1,440 objects at most."""
FLUSH_LINES = 1_000
MAX_WAITING = 100_000
"""Lines (some 30 MB) that wait for a store that does not answer."""

logger = logging.getLogger(__name__)


Background = Callable[[Callable[[], None]], None]
"""Begins some work and returns."""


def _in_a_thread(work: Callable[[], None]) -> None:
    # A run that fails does not wait for it.
    threading.Thread(target=work, name="metrics", daemon=True).start()


class MetricsStream:
    """Writes reports of one attempt. Used by rank 0 alone, by several of its threads.

    Args:
        storage: the run's folder.
        attempt: number of this start.
        clock: seconds, monotonic.
        background: how a part that is due is written.
        patient: the same folder with more patience, for lines that a commit waits for. The same as
            ``storage`` by default.
    """

    def __init__(
        self,
        storage: Storage,
        attempt: int,
        clock: Callable[[], float] = time.monotonic,
        background: Background = _in_a_thread,
        patient: Storage | None = None,
    ) -> None:
        self._storage, self._folder, self._clock = storage, metrics_folder(attempt), clock
        self._patient = patient or storage
        self._background = background
        self._changing, self._writing = threading.Lock(), threading.Lock()
        self._lines: list[str] = []
        self._parts = 0
        self._due = clock() + FLUSH_SECONDS
        self._refusal: TrainerError | None = None

    def add(self, report: ProgressReport, metrics: Mapping[str, float] | None = None) -> None:
        """Add a line; begin to write a part when one is due.

        Args:
            report: tells the iteration.
            metrics: of that iteration; those of the report by default.

        Raises:
            TrainerError: when the store refused the last part, or too many lines wait.
        """
        line = _line(report, report.metrics if metrics is None else metrics)
        with self._changing:
            self._lines.append(line)
            waiting = len(self._lines)
        if self._refusal is not None:
            raise self._refusal
        if waiting >= MAX_WAITING:
            self.flush()
        elif waiting % FLUSH_LINES == 0 or self._clock() >= self._due:
            self._due = self._clock() + FLUSH_SECONDS
            self._background(self._write_if_nobody_does)

    def flush(self, *, patiently: bool = False) -> None:
        """Write what has been gathered, and wait until it is.

        Args:
            patiently: whether a store that does not answer is given the time that a commit has.

        Raises:
            TrainerError: when the store refuses or does not answer; the lines wait on.
        """
        with self._writing:
            self._due = self._clock() + FLUSH_SECONDS
            self._write(self._patient if patiently else self._storage)

    def _write_if_nobody_does(self) -> None:
        if self._writing.acquire(blocking=False):
            try:
                self._write(self._storage)
            except TrainerError as error:
                self._note(error)
            finally:
                self._writing.release()

    def _note(self, error: TrainerError) -> None:
        """Be told with the next line of a refusal; say of a store that is away that lines wait."""
        if error.reason is not FailureReason.STORAGE_UNAVAILABLE:
            self._refusal = error
            return
        with self._changing:
            waiting = len(self._lines)
        logger.warning("metrics wait for the storage (%d lines): %s", waiting, error)

    def _write(self, storage: Storage) -> None:
        with self._changing:
            lines = list(self._lines)
        if not lines:
            return
        key = f"{self._folder}part-{self._parts:05d}.jsonl"
        storage.put_bytes(key, "".join(lines).encode(), "application/jsonl")
        self._parts += 1
        with self._changing:
            del self._lines[: len(lines)]


def _line(report: ProgressReport, metrics: Mapping[str, float]) -> str:
    entry = {
        "iteration": report.iteration,
        "images": report.images,
        "time": report.time.isoformat(timespec="milliseconds"),
        "imagesPerSecond": round(report.images_per_second, 3),
        **metrics,
    }
    return json.dumps(entry) + "\n"
