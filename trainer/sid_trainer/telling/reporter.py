"""What a run may tell while it goes on: the one observer of the training loop.

Rules this module keeps:

* Every rank has a reporter, so that nobody asks which rank it is; of all but the first it is
  silent, and only notes committed checkpoints for the launcher.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import TracebackType

from sid_trainer.contract import CheckpointRef, FailureReason, Stage, TrainerError
from sid_trainer.process.run_directory import RunDirectory

logger = logging.getLogger(__name__)


class Reporter:
    """The silent reporter of all ranks but the first, and the whole surface of reporting."""

    def __init__(self, directory: RunDirectory | None = None) -> None:
        self._directory = directory

    def stage(self, stage: Stage) -> None:
        """The run enters a stage."""

    def resumed(self, ref: CheckpointRef) -> None:
        """Training goes on from a checkpoint."""

    def iteration(self, iteration: int, metrics: Mapping[str, float]) -> None:
        """``iteration`` iterations are finished; metrics are the newest that were read."""

    def flush(self) -> None:
        """What was told so far is to outlast this process: a checkpoint is about to be committed.

        Raises:
            TrainerError: when the storage refuses it, or does not answer as long as a commit waits.
        """

    def checkpoint(self, ref: CheckpointRef) -> None:
        """A checkpoint was committed."""
        if self._directory is not None:
            self._directory.write_checkpoint(ref)

    def checkpoint_problem(self, problem: str) -> None:
        """A checkpoint that was due is not stored."""

    def samples(self, uri: str) -> None:
        """A grid of samples was stored."""

    def alive(self) -> None:
        """Work other than iterations goes on: the run does not stand still."""

    def evaluated(self, iteration: int, metrics: Mapping[str, float]) -> None:
        """The student was measured after ``iteration`` iterations."""

    def measured_before(self, metrics: Mapping[str, float]) -> None:
        """The last measurement of an earlier attempt had these metrics."""

    def student(self, uri: str) -> None:
        """The student was exported."""

    def report_page(self, uri: str) -> None:
        """The report was written."""

    def close(self) -> None:
        """Write what is left and stop serving.

        Raises:
            TrainerError: when the storage refuses it or does not answer.
        """

    def __enter__(self) -> Reporter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, TrainerError) and error.reason is FailureReason.STALLED:
            return  # nor would the storage answer now, and the process is to end
        try:
            self.close()
        except TrainerError as failed:
            # Neither is it the cause of an error, nor would another attempt tell these lines again.
            if error is None and failed.reason is not FailureReason.STORAGE_UNAVAILABLE:
                raise
            logger.warning("the last metrics were not written: %s", failed)
