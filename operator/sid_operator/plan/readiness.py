"""Condition PodsReady, and the cause that keeps pods from being ready."""

from __future__ import annotations

from datetime import datetime, timedelta

from sid_operator import reasons
from sid_operator.api.conditions import ConditionStatus, ConditionType
from sid_operator.plan.causes import Cause
from sid_operator.plan.cleanup import cleaning, still_cleaning
from sid_operator.plan.conditions import Verdict
from sid_operator.plan.diagnosis import creation_cause, waiting_cause
from sid_operator.plan.disruption import node_cause
from sid_operator.plan.gang import current, filled, standing
from sid_operator.plan.holding import held_after, holding_cause
from sid_operator.plan.jobs import Job
from sid_operator.plan.model import Observed, Stray
from sid_operator.plan.placing import placed_after, placing_cause
from sid_operator.plan.pod_events import asked_after, event_cause
from sid_operator.plan.pods import Pod
from sid_operator.plan.suspension import is_suspended
from sid_operator.plan.waits import soonest
from sid_operator.resources.run import Run

CREATION_GRACE = timedelta(seconds=10)
"""Time that the Job controller has to create pods before its events are looked at."""


def all_ready(run: Run, pods: tuple[Pod, ...]) -> bool:
    """Whether every index has a ready pod."""
    return standing(pods) == run.spec.workers.nodes


def blocking_cause(run: Run, observed: Observed, now: datetime) -> Cause | None:
    """What keeps the pods from starting, or None."""
    pods = observed.pods
    cause = (
        waiting_cause(run, pods)
        or node_cause(pods, now)
        or holding_cause(pods, now)
        or event_cause(run, observed, now)
        or placing_cause(run, pods, now)
    )
    if cause is not None or observed.job is None or not lacks_pods(run, observed):
        return cause
    return creation_cause(
        run, observed.creation_failures, _asked_since(observed.job, observed.pods)
    )


def blocked_after(run: Run, observed: Observed, now: datetime) -> float | None:
    """Seconds until something may be found to keep the pods from starting, or None."""
    waits = (
        missed_after(run, observed, now),
        held_after(observed.pods, now),
        asked_after(run, observed, now),
        placed_after(run, observed.pods, now),
    )
    return soonest(waits)


def lacks_pods(run: Run, observed: Observed) -> bool:
    """Whether the Job should have more pods than there are."""
    job = observed.job
    if job is None or job.suspended or job.deleting or job.finished:
        return False
    return filled(observed.pods) < run.spec.workers.nodes


def lacks_pods_for_long(run: Run, observed: Observed, now: datetime) -> bool:
    """Whether pods are missing for longer than creating them takes."""
    job = observed.job
    if job is None or not lacks_pods(run, observed):
        return False
    return now - _asked_since(job, observed.pods) >= CREATION_GRACE


def missed_after(run: Run, observed: Observed, now: datetime) -> float | None:
    """Seconds until pods that are missing are to be asked about, or None where none are.

    It doubles: each time a namespace's Events are listed, and a thousand may wait for one quota.
    """
    job = observed.job
    if job is None or not lacks_pods(run, observed):
        return None
    waited = now - _asked_since(job, observed.pods)
    return max(waited, CREATION_GRACE).total_seconds()


def pods_ready(run: Run, observed: Observed, cause: Cause | None, held: Cause | None) -> Verdict:
    """The condition PodsReady of a run that is not over.

    Args:
        run: The run.
        observed: What is seen of its children.
        cause: What keeps its pods from starting.
        held: Why it gets no Job.
    """
    absent = _not_asked_for(run, observed, held)
    if absent is not None:
        return _verdict("False", *absent)
    if cause is not None:
        return _verdict("False", cause.reason, cause.message)
    nodes = run.spec.workers.nodes
    counted = reasons.READY.format(ready=standing(observed.pods), nodes=nodes)
    if all_ready(run, observed.pods):
        return _verdict("True", reasons.ALL_READY, counted)
    placed = any(pod.scheduled for pod in current(observed.pods))
    waiting = reasons.PODS_STARTING if placed else reasons.PODS_PENDING
    return _verdict("False", waiting, counted)


def _not_asked_for(run: Run, observed: Observed, held: Cause | None) -> tuple[str, str] | None:
    """Why no pods are wanted at present, as reason and message, or None where they are."""
    job = observed.job
    if is_suspended(run, observed):
        return reasons.SUSPENDED, reasons.NO_PODS_WANTED
    if job is None:
        return _without_job(run, observed, held)
    if job.deleting:
        return reasons.RECREATING, reasons.JOB_LEAVING
    if job.suspended:
        queue = job.queue or "of the cluster"
        return reasons.QUEUED, reasons.IN_QUEUE.format(queue=queue)
    return None


def _without_job(run: Run, observed: Observed, held: Cause | None) -> tuple[str, str]:
    if observed.strays:  # what is removed waits for them, too
        return reasons.RECREATING, _strays(observed.strays)
    if (earlier := cleaning(run.uid, observed)) is not None:
        return reasons.CLEANING, still_cleaning(earlier)
    if observed.leftovers:
        return reasons.RECREATING, reasons.LEFTOVERS
    return (held.reason, held.message) if held else (reasons.NO_JOB, reasons.JOB_MISSING)


def _strays(strays: tuple[Stray, ...]) -> str:
    first = strays[0]
    where = reasons.STRAY_ON.format(node=first.node) if first.node else ""
    return reasons.STRAYS.format(count=len(strays), name=first.name, where=where)


def _asked_since(job: Job, pods: tuple[Pod, ...]) -> datetime:
    return max([job.created, job.started or job.created, *(pod.created for pod in pods)])


def _verdict(status: ConditionStatus, reason: str, message: str) -> Verdict:
    return Verdict(ConditionType.PODS_READY, status, reason, message)
