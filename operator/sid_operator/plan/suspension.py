"""Condition Suspended: the run is to stand still, and its Job makes no pods.

Rule: what is told is what is the case. As long as a Job goes on that should not, because the API
server will not take its suspension, the run is not told as suspended.
"""

from __future__ import annotations

from collections.abc import Iterable

from sid_operator import reasons
from sid_operator.api.conditions import Condition, ConditionStatus, ConditionType
from sid_operator.plan.conditions import Verdict, find
from sid_operator.plan.model import Observed
from sid_operator.resources.run import Run


def is_suspended(run: Run, observed: Observed) -> bool:
    """Whether the run is to stand still, and does: no Job makes pods for it."""
    job = observed.job
    stands = job is None or job.suspended or job.deleting or job.finished
    return run.spec.run_policy.suspend and stands


def suspended(run: Run, observed: Observed, before: Iterable[Condition]) -> list[Verdict]:
    """The condition Suspended of a run that is not over; it is there once it has been wanted."""
    if is_suspended(run, observed):
        return [_verdict("True", reasons.SUSPENDED, reasons.IS_SUSPENDED)]
    if run.spec.run_policy.suspend:
        return [_verdict("False", reasons.SUSPENDING, reasons.IS_SUSPENDING)]
    if find(before, ConditionType.SUSPENDED) is not None:
        return [_verdict("False", reasons.RESUMED, reasons.IS_RESUMED)]
    return []


def _verdict(status: ConditionStatus, reason: str, message: str) -> Verdict:
    return Verdict(ConditionType.SUSPENDED, status, reason, message)
