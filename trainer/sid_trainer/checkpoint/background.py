"""Stores checkpoints while training goes on.

Rules this module keeps:

* What is stored is a snapshot that nobody else writes to: one more copy in host memory of what the
  rank trains, until the upload has ended. At most one checkpoint is on its way; one that is due
  meanwhile is left out, and that is told.
* Threads upload, and on rank 0 commit. Ranks agree on what became of it where they meet
  (:meth:`settle`), so their collectives keep one order.
* Where they meet nobody waits for the store, but a moment for a commit: one that answers is done
  by then, one that does not costs no more.
* A store that does not answer costs checkpoints, not the run, until the user's tolerance is used
  up. What waiting cannot cure (a refusal) ends the run at once.
* A file system may neither answer nor fail. Work that has not ended within :data:`LONGEST_SECONDS`
  ends the run: nothing can be begun beside it, as it still has its snapshot.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from sid_trainer.checkpoint.manifest import PartFile
from sid_trainer.checkpoint.state import RankState
from sid_trainer.checkpoint.store import CheckpointStore
from sid_trainer.contract import CheckpointRef, FailureReason, TrainerError
from sid_trainer.process.group import PATIENCE, Outcome, ProcessGroup, attempted

COMMIT_SECONDS = 1.0
"""How long a meeting waits for the commit that it begins: some ten requests of a store."""
LONGEST_SECONDS = PATIENCE.total_seconds() - 900
"""How long an upload or a commit may take: almost as long as ranks wait for one another at most, so
that the rank whose storage is silent tells the others before they give it up."""

logger = logging.getLogger(__name__)
Result = TypeVar("Result")


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
class _UnderWay:
    """A checkpoint that is not stored yet.

    Attributes:
        iteration: after which it was taken.
        work: this rank's upload; afterwards, on rank 0, the commit.
        until: when it should have ended, by the monotonic clock.
        committing: whether all parts are stored.
    """

    iteration: int
    work: Future[Any]
    until: float
    committing: bool = False


class BackgroundSaver:
    """Stores one checkpoint at a time. All methods are called by all ranks in one order.

    Args:
        store: where checkpoints go.
        group: the ranks.
        tolerated: checkpoints in a row that may stay unwritten because the store does not answer.
        before_commit: stores on rank 0 what is told of the iterations so far; where it cannot, the
            checkpoint is left out.
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
        self._under_way: _UnderWay | None = None
        self._missed = 0

    @property
    def busy(self) -> bool:
        """Whether a checkpoint is on its way: the same on all ranks."""
        return self._under_way is not None

    @property
    def committing(self) -> bool:
        """Whether all its parts are stored: the same on all ranks."""
        return self._under_way is not None and self._under_way.committing

    def begin(self, state: RankState, iteration: int) -> None:
        """Start to store this rank's state, which nobody may write to any more."""
        upload = _begun(lambda: self._store.upload(state, iteration), f"checkpoint {iteration}")
        self._under_way = _UnderWay(iteration, upload, time.monotonic() + LONGEST_SECONDS)

    def settle(self, *, wait: bool = False) -> Settled | None:
        """Take note of what has been stored; None where nothing is decided yet; a collective.

        Args:
            wait: until the checkpoint that is on its way is stored, or cannot be.

        Raises:
            TrainerError: on every rank, when the store refuses or the tolerance is used up;
                ``Stalled`` when the store has neither answered nor failed for too long.
        """
        settled, seconds = None, None if wait else 0.0
        while self._under_way is not None and settled is None:
            ended = self._group.all_gather(self._how_it_ended(self._under_way, seconds))
            if self._under_way.committing:
                ended = ended[:1]
            if any(each is None for each in ended):
                return None
            settled = self._gone_on(self._under_way, ended)
            seconds = None if wait else COMMIT_SECONDS  # of one that has just begun
        return settled

    def _how_it_ended(self, under_way: _UnderWay, seconds: float | None) -> Outcome[Any] | None:
        """How this rank's work ended; None where it has not within some seconds, or at all."""
        if under_way.committing and self._group.rank != 0:
            return None
        left = max(0.0, under_way.until - time.monotonic())
        done, _ = futures.wait([under_way.work], left if seconds is None else min(left, seconds))
        if done:
            return attempted(under_way.work.result)
        return _stalled() if time.monotonic() >= under_way.until else None

    def _gone_on(self, under_way: _UnderWay, ended: list[Outcome[Any]]) -> Settled | None:
        """Begin the commit when all parts are stored; conclude when that has ended."""
        self._under_way = None
        iteration = under_way.iteration
        for rank, each in enumerate(ended):
            if each.reason is not None:
                who = "" if under_way.committing else f"rank {rank}: "
                return self._left_out(iteration, TrainerError(each.reason, who + each.message))
        if under_way.committing:
            self._missed = 0
            return Settled(iteration, ended[0].value)
        parts = [each.value for each in ended]
        until = time.monotonic() + LONGEST_SECONDS
        self._under_way = _UnderWay(iteration, self._commit(parts, iteration), until, True)
        return None

    def _commit(self, parts: list[PartFile], iteration: int) -> Future[CheckpointRef]:
        """Begin the commit; on rank 0 only."""
        if self._group.rank != 0:
            return Future()

        def commit() -> CheckpointRef:
            self._before_commit()
            return self._store.commit(parts, iteration)

        return _begun(commit, f"commit {iteration}")

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
            logger.warning("%s", problem)
        return Settled(iteration, problem=problem)


def _stalled() -> Outcome[Any]:
    return Outcome(
        reason=FailureReason.STALLED,
        message=f"the storage has neither taken nor refused it within {LONGEST_SECONDS / 3600:g} "
        "hours: see whether its file system answers",
    )


def _begun(work: Callable[[], Result], name: str) -> Future[Result]:
    """Begin some work in a thread."""
    future: Future[Result] = Future()

    def carry_out() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - it is raised where ranks meet
            future.set_exception(error)

    # A run that fails does not wait for it.
    threading.Thread(target=carry_out, name=name, daemon=True).start()
    return future
