"""``status.failure`` and ``status.lastFailure``: what is told of a cause, since when, and how long.

Rules this module keeps:

* Where words change with everything that happens in the cluster, those that were told a moment ago
  stay, whatever came since, as long as the reason does: a resource that waits costs a write a
  minute at most.
* After a change of the spec, what is told is news.
* Why the pods were replaced is kept when the run goes on, and as long as the resource is there:
  Events are forgotten after an hour.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from sid_operator import reasons
from sid_operator.api.conditions import Condition, ConditionType, Phase
from sid_operator.api.status import FailureStatus, SiDDistillationStatus
from sid_operator.plan.causes import MAX_MESSAGE, RESTLESS, Cause
from sid_operator.plan.conditions import find
from sid_operator.plan.failure import pod_cause
from sid_operator.plan.model import Resource
from sid_operator.plan.pods import Pod

KEPT = timedelta(seconds=60)
"""How long words are told before others of the same reason replace them."""


def steady(cause: Cause | None, resource: Resource, now: datetime) -> Cause | None:
    """The cause, in the words that were told of it a moment ago where there are such."""
    held = resource.status.failure
    if held is None or seconds_until_news(cause, resource, now) is None:
        return cause
    return Cause.told(held)


def seconds_until_news(cause: Cause | None, resource: Resource, now: datetime) -> float | None:
    """Seconds until a cause is told in its new words; None where it is told in them now."""
    held = resource.status.failure
    if cause is None or held is None or held.time is None or held.reason != cause.reason:
        return None
    if cause.reason not in RESTLESS:
        return None
    if resource.status.observed_generation != resource.generation or _same(held, cause):
        return None
    left = held.time + KEPT - now
    return left.total_seconds() if timedelta() < left <= KEPT else None


def failure(
    status: SiDDistillationStatus,
    conditions: list[Condition],
    pods: Iterable[Pod],
    blocked: Cause | None,
) -> Cause | None:
    """What stands in the way now: a refusal, a cause of waiting, or the end of the last attempt.

    Args:
        status: Of before.
        conditions: Of now.
        pods: Tell how the last attempt ended.
        blocked: What keeps pods from starting.
    """
    accepted, running = (
        find(conditions, kind) for kind in (ConditionType.ACCEPTED, ConditionType.RUNNING)
    )
    if accepted is not None and accepted.status == "False":
        return Cause(accepted.reason, accepted.message)
    if blocked is not None:
        return blocked
    if running is None or running.reason not in (reasons.RESTARTING, reasons.FAILING):
        return None
    return pod_cause(pods) or (Cause.told(status.failure) if status.failure is not None else None)


def interruption(
    conditions: list[Condition], pods: Iterable[Pod], cause: Cause | None
) -> Cause | None:
    """Why training was interrupted, where its pods are being replaced and that is known."""
    running = find(conditions, ConditionType.RUNNING)
    if running is None or running.reason != reasons.RESTARTING:
        return None
    if cause is not None and cause.reason == reasons.NODE_LOST:
        return cause
    return pod_cause(pods)


def as_told(
    cause: Cause | None, status: SiDDistillationStatus, pods: Iterable[Pod], now: datetime
) -> FailureStatus | None:
    """A cause as it stands in the status; one that stands there keeps its time.

    Args:
        cause: What is told.
        status: Of before.
        pods: Tell the node.
        now: The time, in UTC.
    """
    if cause is None:
        return None
    interrupted = status.last_failure if status.phase is Phase.RESTARTING else None
    for held in (status.failure, interrupted):
        if held is not None and _same(held, cause):
            return held
    node = next((pod.node for pod in pods if pod.name == cause.pod), "")
    return FailureStatus(
        reason=cause.reason,
        message=cause.message[:MAX_MESSAGE],
        pod=cause.pod,
        node=node or None,
        time=now,
    )


def _same(held: FailureStatus, cause: Cause) -> bool:
    return Cause.told(held) == replace(cause, message=cause.message[:MAX_MESSAGE])
