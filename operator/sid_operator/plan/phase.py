"""The phase of a run that is not over: one word for people, from conditions and pods."""

from __future__ import annotations

from sid_operator import reasons
from sid_operator.api.conditions import Condition, ConditionType, Phase
from sid_operator.plan.conditions import find
from sid_operator.plan.gang import current
from sid_operator.plan.model import Observed
from sid_operator.plan.suspension import is_suspended
from sid_operator.resources.run import Run


def phase(
    before: Phase | None, run: Run | None, conditions: list[Condition], observed: Observed
) -> Phase:
    """The phase that conditions and pods amount to.

    Args:
        before: What it was; kept while the run is ending, until the Job says that it has.
        run: The run, or None where the spec cannot be run.
        conditions: Of now.
        observed: Tells whether the Job goes on, and whether the pods have nodes.
    """
    running = find(conditions, ConditionType.RUNNING)
    ending = running is not None and running.reason in (reasons.FAILING, reasons.HELD)
    if before is not None and ending:
        return before
    return _going_on(run, conditions, observed)


def _going_on(run: Run | None, conditions: list[Condition], observed: Observed) -> Phase:
    running = find(conditions, ConditionType.RUNNING)
    pods_ready = find(conditions, ConditionType.PODS_READY)
    if run is None or running is None or pods_ready is None:
        return Phase.PENDING
    if is_suspended(run, observed):
        return Phase.SUSPENDED
    if pods_ready.reason == reasons.QUEUED:
        return Phase.QUEUED
    if running.status in ("True", "Unknown"):
        return Phase.RUNNING
    if running.reason == reasons.RESTARTING:
        return Phase.RESTARTING
    return Phase.STARTING if _placed(run, observed) else Phase.PENDING


def _placed(run: Run, observed: Observed) -> bool:
    """Whether every index has a pod with a node."""
    pods = current(observed.pods)
    return len(pods) == run.spec.workers.nodes and all(pod.scheduled for pod in pods)
