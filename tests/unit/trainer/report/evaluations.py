"""An evaluation as a record has it."""

from __future__ import annotations

from sid_trainer.report.records import Evaluation


def evaluated(iteration: int, settings: str = "a", **metrics: float) -> Evaluation:
    return Evaluation(
        iteration=iteration, images=8 * iteration, settings=settings, metrics=metrics, seconds=1.0
    )
