"""Pods that no scheduler has looked at: gated, left by their scheduler, or without their claims.

Rules this module keeps:

* A gate is no trouble as such: Kueue's topology-aware scheduling sets one on each pod, and takes it
  away when it has chosen the nodes. It is told only where it stays.
* That the cluster's own scheduler is away is not told by each resource: it is no fault of the run,
  and concerns every pod of the cluster.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from sid_operator import reasons
from sid_operator.plan.causes import Cause
from sid_operator.plan.gang import current
from sid_operator.plan.pods import Pod
from sid_operator.plan.waits import first_after
from sid_operator.resources.run import Run

GRACE = timedelta(minutes=1)
"""Time that a scheduler, or who holds a gate, has for a pod before its silence is told."""
DEFAULT_SCHEDULER = "default-scheduler"


def placing_cause(run: Run, pods: Iterable[Pod], now: datetime) -> Cause | None:
    """Why no scheduler has looked at a pod for long, or None."""
    for pod in current(pods):
        cause = _cause(run, pod)
        if cause is not None and now - pod.created >= GRACE:
            return cause
    return None


def placed_after(run: Run, pods: Iterable[Pod], now: datetime) -> float | None:
    """Seconds until the silence about a pod is told, or None where none will be."""
    left = (pod for pod in current(pods) if _cause(run, pod) is not None)
    return first_after(now, (pod.created + GRACE for pod in left))


def _cause(run: Run, pod: Pod) -> Cause | None:
    if pod.gates:
        told = reasons.GATE_CLOSED.format(pod=pod.name, gates=", ".join(pod.gates))
        return Cause(reasons.GATED, told, pod.name)
    if pod.looked_at:
        return None
    claims = bool(run.spec.workers.resource_claims)
    if pod.scheduler not in ("", DEFAULT_SCHEDULER):
        told = reasons.NOT_TAKEN_UP.format(pod=pod.name, scheduler=pod.scheduler)
        return Cause(reasons.NO_SCHEDULER, told + reasons.OR_THE_CLAIMS * claims, pod.name)
    if not claims:
        return None
    told = reasons.CLAIM_AWAITED.format(pod=pod.name, namespace=run.namespace)
    return Cause(reasons.CLAIM_MISSING, told, pod.name)
