"""When a run's checkpoints are taken, stored and told.

Rules this module keeps:

* A checkpoint that is due while another is still on its way to the store is left out, and told:
  training never waits for the store but at the end of the run and when it is told to end.
* A pod that is told to end tells its ranks through the launcher's folder; the ranks learn of each
  other's where they meet, store what is trained so far, and end together. That is no failure: the
  ranks of that pod end as Terminated, the others as having lost a peer, whose replacement their
  launcher awaits.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from sid_trainer.checkpoint.background import BackgroundSaver, Settled
from sid_trainer.checkpoint.group import ProcessGroup
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.reporter import Reporter
from sid_trainer.run_directory import RunDirectory
from sid_trainer.state import RankState

logger = logging.getLogger(__name__)


class Keeper:
    """The checkpoints of a run, as its loop asks for them. Every method is a collective.

    Args:
        saver: stores them.
        group: the ranks.
        snapshot: this rank's state after an iteration, which nobody else writes to.
        reporter: is told of them.
        directory: where the launcher asks for an end; None where there is no launcher.
    """

    def __init__(
        self,
        saver: BackgroundSaver,
        group: ProcessGroup,
        snapshot: Callable[[int], RankState],
        reporter: Reporter,
        directory: RunDirectory | None,
    ) -> None:
        self._saver, self._group = saver, group
        self._snapshot, self._reporter, self._directory = snapshot, reporter, directory
        self._stored = -1

    def due(self, iteration: int) -> None:
        """Begin to store a checkpoint, unless another is on its way."""
        self._conclude(self._saver.settle())
        if self._saver.busy:
            self._reporter.checkpoint_problem(
                f"the checkpoint of iteration {iteration} was left out, as the one before it is "
                "still being stored: raise checkpoint.everyIterations, or use a faster store"
            )
            return
        self._saver.begin(self._snapshot(iteration), iteration)

    def now(self, iteration: int) -> None:
        """Store a checkpoint, and wait until it is."""
        self._conclude(self._saver.settle(wait=True))
        if self._stored == iteration:
            return
        self._saver.begin(self._snapshot(iteration), iteration)
        self._conclude(self._saver.settle(wait=True))

    def meet(self, iteration: int) -> None:
        """Commit what has been stored meanwhile, and end where the pod of any rank is to end.

        Raises:
            TrainerError: ``Terminated`` or ``PeerLost`` on every rank, after a last checkpoint.
        """
        self._conclude(self._saver.settle())
        asked = self._directory is not None and self._directory.stop_requested()
        if not any(self._group.all_gather(asked)):
            return
        self.now(iteration)
        raise TrainerError(
            FailureReason.TERMINATED if asked else FailureReason.PEER_LOST,
            f"a pod of the run was told to end; the newest checkpoint is that of iteration "
            f"{self._stored}",
        )

    def _conclude(self, settled: Settled | None) -> None:
        if settled is None:
            return
        if settled.ref is None:
            self._reporter.checkpoint_problem(settled.problem)
            return
        self._stored = settled.iteration
        self._reporter.checkpoint(settled.ref)
