"""Stores checkpoints while training goes on.

Rules this module keeps:

* What is stored is a snapshot that nobody else writes to: one more copy in host memory of what the
  rank trains, until the upload has ended. At most one checkpoint is on its way; one that is due
  meanwhile is left out, and that is told.
* Threads only upload. Ranks agree on what became of it where they meet (:meth:`settle`), so their
  collectives keep one order.
* A store that does not answer costs checkpoints, not the run, until the user's tolerance is used
  up. What waiting cannot cure (a refusal) ends the run at once.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from sid_trainer.checkpoint.group import ProcessGroup
from sid_trainer.checkpoint.manifest import Part
from sid_trainer.checkpoint.store import CheckpointStore
from sid_trainer.contract import CheckpointRef, FailureReason, TrainerError
from sid_trainer.state import RankState

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settled:
    """What became of a checkpoint.

    Attributes:
        iteration: after which it was taken.
        ref: where it is, or None where it was not stored.
        problem: why not.
    """

    iteration: int
    ref: CheckpointRef | None = None
    problem: str = ""


@dataclass(frozen=True)
class _Upload:
    """This rank's part on its way."""

    iteration: int
    part: Future[Part]


@dataclass(frozen=True)
class _Ended:
    """How a rank's upload ended; an exception itself would not survive pickling."""

    part: Part | None = None
    reason: FailureReason | None = None
    message: str = ""


class BackgroundSaver:
    """Stores one checkpoint at a time. All methods are called by all ranks in one order.

    Args:
        store: where checkpoints go.
        group: the ranks.
        tolerated: checkpoints in a row that may stay unwritten because the store does not answer.
        before_commit: stores on rank 0 what is told of the iterations so far.
    """

    def __init__(
        self,
        store: CheckpointStore,
        group: ProcessGroup,
        tolerated: int,
        before_commit: Callable[[], None] = lambda: None,
    ) -> None:
        self._store, self._group, self._tolerated = store, group, tolerated
        self._before_commit = before_commit
        self._upload: _Upload | None = None
        self._missed = 0

    @property
    def busy(self) -> bool:
        """Whether a checkpoint is on its way: the same on all ranks."""
        return self._upload is not None

    def begin(self, state: RankState, iteration: int) -> None:
        """Start to store this rank's state, which nobody may write to any more."""
        part: Future[Part] = Future()
        self._upload = _Upload(iteration, part)
        thread = threading.Thread(
            target=_carry_out,
            args=(part, self._store, state, iteration),
            name=f"checkpoint {iteration}",
            daemon=True,  # a run that fails does not wait for it
        )
        thread.start()

    def settle(self, *, wait: bool = False) -> Settled | None:
        """Commit what all ranks have stored; None where nothing has ended yet; a collective.

        Args:
            wait: until all ranks' uploads have ended.

        Raises:
            TrainerError: on every rank, when the store refuses or the tolerance is used up.
        """
        upload = self._upload
        if upload is None:
            return None
        mine = _how_it_ended(upload.part) if wait or upload.part.done() else None
        ended = [each for each in self._group.all_gather(mine) if each is not None]
        if len(ended) < self._group.world:
            return None
        self._upload = None
        return self._concluded(upload.iteration, ended)

    def _concluded(self, iteration: int, ended: list[_Ended]) -> Settled:
        parts = [each.part for each in ended if each.part is not None]
        if len(parts) == len(ended):
            try:
                ref = self._store.commit(parts, iteration, self._before_commit)
            except TrainerError as error:
                return self._left_out(iteration, error)
            self._missed = 0
            return Settled(iteration, ref)
        rank, first = next((rank, e) for rank, e in enumerate(ended) if e.reason is not None)
        reason = first.reason or FailureReason.UNKNOWN
        return self._left_out(iteration, TrainerError(reason, f"rank {rank}: {first.message}"))

    def _left_out(self, iteration: int, error: TrainerError) -> Settled:
        """Go on without the checkpoint, as long as that is tolerated."""
        self._missed += 1
        curable = error.reason is FailureReason.STORAGE_UNAVAILABLE
        if not curable or self._missed > self._tolerated:
            raise TrainerError(
                error.reason, f"the checkpoint of iteration {iteration} was not stored: {error}"
            ) from error
        problem = (
            f"the checkpoint of iteration {iteration} was not stored ({self._missed} of at most "
            f"{self._tolerated} in a row): {error}"
        )
        if self._group.rank == 0:
            logger.warning("%s; training goes on", problem)
        return Settled(iteration, problem=problem)


def _carry_out(
    part: Future[Part], store: CheckpointStore, state: RankState, iteration: int
) -> None:
    try:
        part.set_result(store.upload(state, iteration))
    except BaseException as error:  # noqa: BLE001 - it is raised where ranks meet
        part.set_exception(error)


def _how_it_ended(part: Future[Part]) -> _Ended:
    try:
        return _Ended(part.result())
    except TrainerError as error:
        return _Ended(reason=error.reason, message=str(error))
