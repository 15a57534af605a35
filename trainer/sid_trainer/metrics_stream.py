"""The metrics of an attempt as JSON lines in the run's storage.

Rules this module keeps:

* An object store cannot append: lines are gathered and written as numbered parts,
  ``metrics/attempt-0001/part-00000.jsonl`` and so on, each written once and bounded in size.
* A store that does not answer delays lines, and says so; it neither loses them nor stops the run
  until more than :data:`MAX_WAITING` lines wait.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping

from sid_trainer.attempts import attempt_folder
from sid_trainer.contract import FailureReason, ProgressReport, TrainerError
from sid_trainer.storage import Storage

FLUSH_SECONDS = 60.0
"""Age of the oldest line at which a part is written: a day makes 1,440 objects at most."""
FLUSH_LINES = 1_000
MAX_WAITING = 100_000
"""Lines (some 30 MB) that wait for a store that does not answer."""

logger = logging.getLogger(__name__)


class MetricsStream:
    """Writes reports of one attempt. Used by rank 0 alone.

    Args:
        storage: the run's folder.
        attempt: number of this start.
        clock: seconds, monotonic.
    """

    def __init__(
        self, storage: Storage, attempt: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._storage, self._folder, self._clock = storage, attempt_folder(attempt), clock
        self._lines: list[str] = []
        self._parts = 0
        self._due = clock() + FLUSH_SECONDS

    def add(self, report: ProgressReport, metrics: Mapping[str, float] | None = None) -> None:
        """Add a line; write a part when one is due.

        Args:
            report: tells the iteration.
            metrics: of that iteration; those of the report by default.
        """
        self._lines.append(_line(report, report.metrics if metrics is None else metrics))
        if len(self._lines) >= FLUSH_LINES or self._clock() >= self._due:
            self.flush()

    def flush(self) -> None:
        """Write what has been gathered.

        Raises:
            TrainerError: when the store refuses, or has not answered for too long.
        """
        self._due = self._clock() + FLUSH_SECONDS
        if not self._lines:
            return
        key = f"{self._folder}part-{self._parts:05d}.jsonl"
        try:
            self._storage.put_bytes(key, "".join(self._lines).encode(), "application/jsonl")
        except TrainerError as error:
            patient = len(self._lines) < MAX_WAITING
            if error.reason is not FailureReason.STORAGE_UNAVAILABLE or not patient:
                raise
            logger.warning("metrics wait for the storage (%d lines): %s", len(self._lines), error)
            return
        self._parts += 1
        self._lines.clear()


def _line(report: ProgressReport, metrics: Mapping[str, float]) -> str:
    entry = {
        "iteration": report.iteration,
        "images": report.images,
        "time": report.time.isoformat(timespec="milliseconds"),
        "imagesPerSecond": round(report.images_per_second, 3),
        **metrics,
    }
    return json.dumps(entry) + "\n"
