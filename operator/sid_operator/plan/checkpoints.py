"""Condition CheckpointsStored: whether checkpoints reach the store, as rank 0 tells."""

from __future__ import annotations

from sid_operator import reasons
from sid_operator.api.conditions import ConditionType
from sid_operator.plan.conditions import Verdict
from sid_operator.plan.objects import printable
from sid_trainer.contract import ProgressReport


def checkpoints_stored(report: ProgressReport | None) -> list[Verdict]:
    """The condition, once a checkpoint was due."""
    if report is None:
        return []
    if report.checkpoint_problem:
        problem = printable(report.checkpoint_problem)
        told = reasons.CHECKPOINT_MISSED.format(problem=problem)
        return [Verdict(ConditionType.CHECKPOINTS, "False", reasons.NOT_STORED, told)]
    if report.checkpoint is None:
        return []
    return [Verdict(ConditionType.CHECKPOINTS, "True", reasons.STORED, reasons.CHECKPOINT_STORED)]
