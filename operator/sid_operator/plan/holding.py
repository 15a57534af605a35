"""A pod that does not end, though its trainer has: another container of it goes on.

A sidecar that a webhook puts beside the trainer as an ordinary container, such as that of a service
mesh, runs until somebody ends it. Until then the Job counts the pod as running: it neither
completes nor fails, nor replaces the pod.

Rule: pods are left alone. Which container may be ended, and how, its owner knows.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from sid_operator import reasons
from sid_operator.plan.causes import Cause
from sid_operator.plan.failure import pod_cause
from sid_operator.plan.gang import current, newest
from sid_operator.plan.objects import printable
from sid_operator.plan.pods import Pod, Terminated
from sid_operator.plan.waits import first_after

GRACE = timedelta(minutes=1)
"""Time that a sidecar has which ends by itself after the trainer."""
MAX_CAUSE = 300
"""Characters of why the trainer failed; the remedy comes after them."""


def holding_cause(pods: Iterable[Pod], now: datetime) -> Cause | None:
    """The container that keeps a pod from ending, and how its trainer ended, or None."""
    held = _held_for_long(pods, now)
    if not held:
        return None
    failure = pod_cause(held)
    pod = next((one for one in held if failure is not None and one.name == failure.pod), held[0])
    how = _failed(failure) if failure is not None else reasons.ENDED_WELL
    containers = ", ".join(pod.companions)
    told = reasons.POD_KEPT.format(pod=pod.name, containers=containers, how=how)
    return Cause(reasons.HELD, told, pod.name)


def holds_up(pods: Iterable[Pod], now: datetime) -> Cause | None:
    """The cause where the run does not go on because of it: a trainer failed, or none is left."""
    pods = tuple(pods)
    goes_on = current(pods) and not any(pod.failed for pod in _held_for_long(pods, now))
    return None if goes_on else holding_cause(pods, now)


def held_after(pods: Iterable[Pod], now: datetime) -> float | None:
    """Seconds until a pod that does not end is told, or None where none will be."""
    return first_after(now, (ended.finished_at + GRACE for _, ended in _held(pods)))


def _failed(failure: Cause) -> str:
    message = printable(failure.message, MAX_CAUSE)
    return reasons.ENDED_BADLY.format(reason=failure.reason, message=message)


def _held_for_long(pods: Iterable[Pod], now: datetime) -> list[Pod]:
    return [pod for pod, ended in _held(pods) if now - ended.finished_at >= GRACE]


def _held(pods: Iterable[Pod]) -> list[tuple[Pod, Terminated]]:
    return [
        (pod, pod.terminated)
        for pod in newest(pods)
        if pod.terminated is not None and pod.companions and not pod.leaving
    ]
