"""Losses and gradient norms between two readings, and the check that they are finite.

Rules this module keeps:

* Iterations add tensors and wait for nothing. A reading is one collective, which every rank takes
  after the same iteration.
* Ranks agree by what they read: the same means, the same error for the same iteration, and the
  same length of the next interval, for which they share the mean of their clocks.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.iteration import IterationResult

READING_SECONDS = 2.0
"""Time between two readings that is aimed at."""
MAX_INTERVAL = 100
"""Iterations between two readings at most, so that a run that went wrong ends soon."""


class TrainingMetrics:
    """Collects iterations and reads them together.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pending: list[tuple[int, Tensor]] = []
        self._interval = 1
        self._since = clock()
        self.latest: dict[str, float] = {}

    def add(self, iteration: int, result: IterationResult) -> None:
        """Note an iteration; ``iteration`` counts it as finished."""
        numbers = (
            result.fake_score_loss,
            result.student_loss,
            result.fake_gradient_norm,
            result.student_gradient_norm,
        )
        device = result.student_loss.device
        self._pending.append((iteration, torch.stack([n.to(device) for n in numbers])))

    @property
    def due(self) -> bool:
        """Whether all ranks are to read now."""
        return len(self._pending) >= self._interval

    def read(self) -> None:
        """Average what was added over iterations and ranks into :attr:`latest`; a collective.

        Raises:
            TrainerError: ``NumericalError`` on every rank, naming the first bad iteration.
        """
        if not self._pending:
            return
        iterations = [iteration for iteration, _ in self._pending]
        rows, seconds = self._over_ranks(torch.stack([row for _, row in self._pending]).double())
        self._pending.clear()
        _refuse_not_finite(iterations, rows)
        fake_loss, student_loss, fake_norm, student_norm = rows.mean(0).tolist()
        self.latest = {
            "generatorLoss": student_loss,
            "fakeScoreLoss": fake_loss,
            "generatorGradNorm": student_norm,
            "fakeGradNorm": fake_norm,
        }
        per_iteration = max(seconds / len(iterations), 1e-9)
        self._interval = min(MAX_INTERVAL, max(1, round(READING_SECONDS / per_iteration)))
        self._since = self._clock()

    def _over_ranks(self, rows: Tensor) -> tuple[Tensor, float]:
        """Rows averaged over ranks, and the mean time since the last reading."""
        elapsed = rows.new_full((1, rows.shape[1]), self._clock() - self._since)
        everything = torch.cat([rows, elapsed])
        torch.distributed.all_reduce(everything)
        everything = everything.cpu() / torch.distributed.get_world_size()
        return everything[:-1], float(everything[-1, 0])


def _refuse_not_finite(iterations: list[int], rows: Tensor) -> None:
    for iteration, row in zip(iterations, rows, strict=True):
        if not bool(torch.isfinite(row).all()):
            raise not_finite(iteration, "a loss or gradient")


def not_finite(iteration: int, what: str) -> TrainerError:
    """The error of a run whose numbers went wrong."""
    return TrainerError(
        FailureReason.NUMERICAL_ERROR,
        f"{what} is not finite in iteration {iteration}: lower training.learningRate and "
        "training.fakeLearningRate, or use a milder distillation.weighting; checkpoints written "
        "before are not harmed",
    )
