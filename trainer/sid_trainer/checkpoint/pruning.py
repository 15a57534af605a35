"""Removing what is no longer needed after a commit; what that is, :mod:`.retention` decides.

Rules this module keeps:

* A store that refuses costs space, not the run: the next commit tries again.
* An attempt that has been replaced removes nothing.
* An older attempt may have committed what was just taken for left over: it is looked for again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sid_trainer.checkpoint import layout
from sid_trainer.checkpoint.commit import (
    Fence,
    announced_parts,
    give_up_uploads,
    unfenced,
    withdraw_torn,
)
from sid_trainer.checkpoint.finding import manifests
from sid_trainer.checkpoint.manifest import Manifest
from sid_trainer.checkpoint.retention import best_of, obsolete
from sid_trainer.contract import TrainerError
from sid_trainer.storage import Storage

logger = logging.getLogger(__name__)


def _no_ranking() -> Sequence[int]:
    return ()


@dataclass
class Pruner:
    """Removes a run's older checkpoints, and what dead attempts have left.

    Attributes:
        storage: the run's folder.
        attempt: number of this start of the run.
        keep_last: checkpoints to keep.
        fence: raises where another start has taken over.
        keep_best: how many of the best to keep besides, at most.
        ranking: gives iterations, the best first; called on rank 0 after a commit.
    """

    storage: Storage
    attempt: int
    keep_last: int
    fence: Fence = unfenced
    keep_best: int = 0
    ranking: Callable[[], Sequence[int]] = _no_ranking

    def prune(self, committed: Manifest) -> None:
        """Remove what is not needed beside the checkpoint that was just committed."""
        try:
            self.fence()
            self._remove(self._obsolete(committed), committed)
        except TrainerError as error:
            logger.warning("old checkpoints were not removed, trying again later: %s", error)

    def _obsolete(self, committed: Manifest) -> list[str]:
        keys = [found.key for found in self.storage.list(layout.FOLDER + "/")]
        there = manifests(self.storage)
        best = best_of(self.ranking(), there, self.keep_best)
        return obsolete(keys, there, self.keep_last, committed, best)

    def _remove(self, dropped: list[str], committed: Manifest) -> None:
        own = f"{layout.folder(committed.iteration)}/"
        others = [key for key in dropped if not key.startswith(own)]
        failed = announced_parts(self.storage, others)
        self.storage.delete(dropped)
        if any(layout.attempt_of(key) not in (None, self.attempt) for key in dropped):
            older = [one for one in manifests(self.storage) if one.attempt < self.attempt]
            withdraw_torn(self.storage, older)
        give_up_uploads(self.storage, failed)
