"""The phase: one word for people, derived from conditions and pods."""

from __future__ import annotations

from sid_operator import reasons
from sid_operator.api.conditions import Condition, ConditionType, Phase
from sid_operator.plan.conditions import find
from sid_operator.plan.gang import current
from sid_operator.plan.model import Observed
from sid_operator.resources.run import Run


def phase(run: Run | None, conditions: list[Condition], observed: Observed) -> Phase:
    """The phase that conditions and pods amount to."""
    return _ended(conditions) or _going_on(run, conditions, observed)


def _going_on(run: Run | None, conditions: list[Condition], observed: Observed) -> Phase:
    running = find(conditions, ConditionType.RUNNING)
    pods_ready = find(conditions, ConditionType.PODS_READY)
    if run is None or running is None or pods_ready is None:
        return Phase.PENDING
    if run.spec.run_policy.suspend:
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


def _ended(conditions: list[Condition]) -> Phase | None:
    for kind, ended in (
        (ConditionType.COMPLETE, Phase.SUCCEEDED),
        (ConditionType.FAILED, Phase.FAILED),
    ):
        condition = find(conditions, kind)
        if condition is not None and condition.status == "True":
            return ended
    return None
