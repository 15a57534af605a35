"""When a run's checkpoints are taken, stored and told.

Rules this module keeps:

* A checkpoint that is due while another is still on its way to the store is left out, and told:
  training waits for the store only before a measurement, at the end of the run and when it is told
  to end.
* What nothing comes after (the end, a failure) is tried until it is stored or the tolerance is used
  up; when a pod is told to end, as long as its grace period lasts: then the launcher ends it.
* A pod that is told to end tells its ranks through the launcher's folder; the ranks learn of each
  other's where they meet, store what is trained so far, and end together. That is no failure: the
  ranks of that pod end as Terminated, the others as having lost a peer, whose replacement their
  launcher awaits.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from sid_trainer.checkpoint.background import BackgroundSaver, Settled
from sid_trainer.checkpoint.state import RankState
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.process.group import ProcessGroup
from sid_trainer.process.run_directory import RunDirectory
from sid_trainer.telling.reporter import Reporter

AGAIN_SECONDS = 5.0
"""Pause before a checkpoint that was not stored is tried again: a store on disk fails at once."""


class Keeper:
    """The checkpoints of a run, as its loop asks for them. Every method is a collective.

    Args:
        saver: stores them.
        group: the ranks.
        snapshot: this rank's state after an iteration, which nobody else writes to.
        reporter: is told of them.
        directory: where the launcher asks for an end; None where there is no launcher.
        stored: iteration of the newest checkpoint that is there; 0 for none.
    """

    def __init__(
        self,
        saver: BackgroundSaver,
        group: ProcessGroup,
        snapshot: Callable[[int], RankState],
        reporter: Reporter,
        directory: RunDirectory | None,
        stored: int = 0,
    ) -> None:
        self._saver, self._group = saver, group
        self._snapshot, self._reporter, self._directory = snapshot, reporter, directory
        self._stored = stored

    def checkpoint(self, iteration: int) -> None:
        """Begin to store a checkpoint, unless another is on its way."""
        self._conclude(self._saver.settle())
        if self._saver.busy:
            self._reporter.checkpoint_problem(
                f"the checkpoint of iteration {iteration} was left out, as the one before it is "
                "still being stored: raise checkpoint.everyIterations, or use a faster store"
            )
            return
        self._saver.begin(self._snapshot(iteration), iteration)

    def secure(self, iteration: int) -> None:
        """Store a checkpoint, and wait until it is, or until the store has not answered.

        Raises:
            TrainerError: on every rank, when the store refuses or the tolerance is used up.
        """
        self._conclude(self._saver.settle(wait=True))
        if self._stored != iteration:
            self._saver.begin(self._snapshot(iteration), iteration)
            self._conclude(self._saver.settle(wait=True))

    def keep(self, iteration: int) -> None:
        """Store a checkpoint, and wait until it is.

        Raises:
            TrainerError: on every rank, when the store refuses or the tolerance is used up.
        """
        self._insist(iteration, lambda: self._saver.settle(wait=True))

    def told_to_end(self) -> bool:
        """Whether the pod of any rank is to end."""
        return any(self._group.all_gather(self._asked))

    def meet(self, iteration: int) -> None:
        """Commit what has been stored meanwhile, and end where the pod of any rank is to end.

        Raises:
            TrainerError: ``Terminated`` or ``PeerLost`` on every rank, after a last checkpoint.
        """
        self._conclude(self._saver.settle())
        asked = self._group.all_gather(self._asked)
        if not any(asked):
            return
        self._insist(iteration, lambda: self._settled_at_any_cost(iteration))
        raise TrainerError(
            FailureReason.TERMINATED if asked[self._group.rank] else FailureReason.PEER_LOST,
            f"a pod of the run was told to end; the newest checkpoint is that of iteration "
            f"{self._stored}",
        )

    @property
    def _asked(self) -> bool:
        """Whether this rank's pod is to end."""
        return self._directory is not None and self._directory.stop_requested()

    def _insist(self, iteration: int, settle: Callable[[], Settled | None]) -> None:
        """Try until the checkpoint is stored, of one snapshot."""
        self._conclude(settle())
        if self._stored == iteration:
            return
        state = self._snapshot(iteration)
        while True:
            self._saver.begin(state, iteration)
            self._conclude(settle())
            if self._stored == iteration:
                return
            time.sleep(AGAIN_SECONDS)

    def _settled_at_any_cost(self, iteration: int) -> Settled | None:
        """What became of the checkpoint, where no tolerance counts any more."""
        try:
            return self._saver.settle(wait=True)
        except TrainerError as error:
            if error.reason is not FailureReason.STORAGE_UNAVAILABLE:
                raise
            return Settled(iteration, problem=str(error))

    def _conclude(self, settled: Settled | None) -> None:
        if settled is None:
            return
        if settled.ref is None:
            self._reporter.checkpoint_problem(settled.problem)
            return
        self._stored = settled.iteration
        self._reporter.checkpoint(settled.ref)
