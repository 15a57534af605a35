"""Pods that Kubernetes took away, and pods whose node does not answer.

Rules this module keeps:

* What the pod's own trainer said of a failure of its own comes first; that it was told to end, or
  lost its peers, only follows from the disruption.
* A pod that should be gone and is not keeps its replacement from being made: two pods of one index
  would train against each other. The way out is told; nothing is forced.
* Messages hold no times, so that status and Events do not change while nothing does.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from sid_operator import reasons
from sid_operator.plan.causes import Cause
from sid_operator.plan.gang import newest
from sid_operator.plan.pods import Pod
from sid_operator.plan.waits import first_after

STUCK = timedelta(seconds=30)
"""A pod still there so long after its grace period is not being ended by anyone: the kubelet kills
what is left at the end of it, and says so within seconds."""

_TOLD = {
    "PreemptionByScheduler": (reasons.PREEMPTED, reasons.POD_PREEMPTED),
    "EvictionByEvictionAPI": (reasons.EVICTED, reasons.POD_EVICTED),
    "DeletionByTaintManager": (reasons.EVICTED, reasons.POD_EVICTED),
    "TerminationByKubelet": (reasons.EVICTED, reasons.POD_EVICTED),
    "DeletionByPodGC": (reasons.NODE_LOST, reasons.POD_NODE_GONE),
}


def disruption_cause(pod: Pod) -> Cause | None:
    """Why Kubernetes took the pod away, or None where it did not."""
    if pod.disruption is None:
        return None
    kind, message = pod.disruption
    reason, told = _TOLD.get(kind, (reasons.EVICTED, reasons.POD_EVICTED))
    # The kubelet's own words (which resource was short) stand on the pod.
    details = (pod.message or message or kind).rstrip(". ")
    return Cause(reason, told.format(node=pod.node, details=details), pod.name)


def node_cause(pods: Iterable[Pod], now: datetime) -> Cause | None:
    """The node that keeps a pod from running or from being replaced, or None."""
    pod = held_by_its_node(pods, now)
    if pod is None:
        return None
    told = reasons.NODE_SILENT.format(node=pod.node, pod=pod.name)
    return Cause(reasons.NODE_LOST, told, pod.name)


def held_by_its_node(pods: Iterable[Pod], now: datetime) -> Pod | None:
    """A pod of which nobody knows whether it still runs, as its node does not answer, or None."""
    return next((pod for pod in newest(pods) if pod.node_silent or _is_stuck(pod, now)), None)


def seconds_until_stuck(pods: Iterable[Pod], now: datetime) -> float | None:
    """Seconds until a pod that is being deleted counts as stuck, or None where none will."""
    return first_after(now, (pod.gone_by + STUCK for pod in pods if pod.gone_by is not None))


def _is_stuck(pod: Pod, now: datetime) -> bool:
    over = pod.failed or pod.succeeded
    return pod.gone_by is not None and not over and now - pod.gone_by >= STUCK
