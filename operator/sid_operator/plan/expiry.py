"""``runPolicy.ttlSecondsAfterFinished``: when a resource whose run is over is deleted."""

from __future__ import annotations

from datetime import datetime, timedelta

from sid_operator import reasons
from sid_operator.api.status import SiDDistillationStatus
from sid_operator.kube.kinds import DISTILLATIONS
from sid_operator.plan.model import Delete, Notice, Resource


def seconds_left(resource: Resource, status: SiDDistillationStatus, now: datetime) -> float | None:
    """Seconds until a resource that is over is to be deleted; None where it is to stay."""
    if resource.run is None or status.completion_time is None:
        return None
    ttl = resource.run.spec.run_policy.ttl_seconds_after_finished
    if ttl is None:
        return None
    return (status.completion_time + timedelta(seconds=ttl) - now).total_seconds()


def is_due(resource: Resource, status: SiDDistillationStatus, now: datetime) -> bool:
    """Whether a resource that is over is to be deleted now."""
    left = seconds_left(resource, status, now)
    return left is not None and left <= 0


def deletion(resource: Resource) -> Delete:
    """Delete the resource; its children follow by their owner references."""
    ttl = resource.run.spec.run_policy.ttl_seconds_after_finished if resource.run else None
    message = reasons.EXPIRED.format(seconds=ttl)
    notice = Notice("Normal", reasons.EVENT_EXPIRED, message)
    return Delete(DISTILLATIONS, resource.name, resource.uid, notice)
