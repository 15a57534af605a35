"""What the loop calls between iterations: each call goes to whom it concerns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sid_trainer.evaluate.stage import EvaluationStage
from sid_trainer.telling.reporter import Reporter
from sid_trainer.training.keeping import Keeper


@dataclass(frozen=True)
class RunServices:
    """What the loop calls, made of the run's reporter, its checkpoints and its evaluation."""

    reporter: Reporter
    keeper: Keeper
    evaluation: EvaluationStage

    def iteration(self, iteration: int, metrics: Mapping[str, float]) -> None:
        """Tell the iteration."""
        self.reporter.iteration(iteration, metrics)

    def samples(self, iteration: int) -> None:
        """Draw, store and tell sample pictures; a collective."""
        self.evaluation.samples(iteration)

    def metrics(self, iteration: int) -> None:
        """Measure the student, store and tell the result; end where a pod is to end."""
        self.evaluation.metrics(iteration, self.keeper.told_to_end)
        self.keeper.meet(iteration)

    def checkpoint(self, iteration: int) -> None:
        """Begin to store a checkpoint; a collective."""
        self.keeper.checkpoint(iteration)

    def secure(self, iteration: int) -> None:
        """Store a checkpoint if the store answers; a collective."""
        self.keeper.secure(iteration)

    def keep(self, iteration: int) -> None:
        """Store a checkpoint; a collective."""
        self.keeper.keep(iteration)

    def meet(self, iteration: int) -> None:
        """Tell checkpoints that are stored, and end where a pod is to end; a collective."""
        self.keeper.meet(iteration)
