"""Updates that are left out because a loss or gradient is not finite.

Rules this module keeps:

* A network's update is made on all ranks or on none. DeepSpeed's ZeRO-3 decides by the norm of the
  gradient over all ranks, in every precision, and reads it from the device at each update: nothing
  here waits for the device once more.
* So a loss that is not finite must have a gradient that is not (:func:`exposed`), on whichever rank
  and in whichever micro-batch: an infinite loss may have a finite one.
* What is skipped leaves no trace: neither weights nor Adam's moments nor its count of steps change.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from torch import Tensor

from sid_trainer.contract import FailureReason
from sid_trainer.process.group import SharedError

logger = logging.getLogger(__name__)


@dataclass
class SkippedUpdates:
    """How often the update of one network was left out.

    Attributes:
        total: in the whole run, attempts before this one included.
        in_a_row: up to now, in this attempt.
    """

    total: int = 0
    in_a_row: int = 0

    def note(self, applied: bool) -> None:
        """Count an update."""
        self.total += not applied
        self.in_a_row = 0 if applied else self.in_a_row + 1


def exposed(loss: Tensor) -> Tensor:
    """The scalar loss, its gradient made NaN where the loss is not finite; waits for nothing."""
    nan = torch.full_like(loss, torch.nan)
    return loss * torch.where(torch.isfinite(loss), torch.ones_like(loss), nan)


def tell_skipped(
    iteration: int, network: str, skipped: SkippedUpdates, most: int, loss_is_finite: bool
) -> None:
    """Log the update of an iteration that was skipped, and end the run where it is one too many.

    Args:
        iteration: counts it as finished.
        network: its name.
        skipped: the count, this update included.
        most: updates in a row that may be skipped.
        loss_is_finite: whether this rank's own losses were.

    Raises:
        SharedError: ``NumericalError``; all ranks have skipped the same updates.
    """
    if not loss_is_finite:
        logger.warning("iteration %d: the %s loss of this rank is not finite", iteration, network)
    if skipped.in_a_row > most:
        raise SharedError(
            FailureReason.NUMERICAL_ERROR,
            f"the loss or gradient of the {network} network is not finite in iteration {iteration}"
            f"{_row(skipped.in_a_row)}: lower training.learningRate and training.fakeLearningRate, "
            "or set training.gradientClipping, and go on from the last checkpoint; these updates "
            "were skipped, so weights and checkpoints are not harmed",
        )
    if torch.distributed.get_rank() == 0:
        logger.warning(
            "iteration %d: the update of the %s network is skipped, as its loss or gradient is not "
            "finite (%d in a row, %d in all)",
            iteration,
            network,
            skipped.in_a_row,
            skipped.total,
        )


def _row(count: int) -> str:
    return f", the last of {count} in a row" if count > 1 else ""
