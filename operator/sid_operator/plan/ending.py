"""How a run ends: Complete or Failed, once and for all.

Rules this module keeps:

* A run has failed as soon as it is certain, though pods are still ending: one on a lost node may
  never end. Such a pod is told.
* No condition says of a run that is over that it is in trouble.
* The end of a Job that was made for another spec says nothing of this one, which was not tried yet.
* A Job that is being deleted fails because of it: its failure counts only from before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from sid_operator import reasons
from sid_operator.api.conditions import Condition, ConditionType, Phase
from sid_operator.api.status import SiDDistillationStatus
from sid_operator.plan import progress
from sid_operator.plan.causes import Cause
from sid_operator.plan.conditions import Verdict, find, is_true, seen_at, updated
from sid_operator.plan.disruption import held_by_its_node
from sid_operator.plan.failure import job_failure
from sid_operator.plan.jobs import Job
from sid_operator.plan.model import Observed, Resource
from sid_operator.plan.pods import Pod
from sid_operator.plan.telling import as_told
from sid_operator.resources.metadata import run_hash
from sid_operator.resources.run import Run

COMPLETE, FAILED = ConditionType.COMPLETE, ConditionType.FAILED


def is_over(status: SiDDistillationStatus) -> bool:
    """Whether the status says that the run has ended: in a condition, the phase is for people."""
    return _tell_the_end((one.type, one.status) for one in status.conditions)


def is_over_as_held(status: Mapping[str, Any]) -> bool:
    """:func:`is_over` of a status as the API server holds it, which costs no reading of it all."""
    return _tell_the_end((one["type"], one["status"]) for one in status.get("conditions") or [])


def _tell_the_end(conditions: Iterable[tuple[str, str]]) -> bool:
    return any(kind in (COMPLETE, FAILED) and told == "True" for kind, told in conditions)


def ended(
    resource: Resource, run: Run, observed: Observed, status: SiDDistillationStatus, now: datetime
) -> SiDDistillationStatus | None:
    """The status at the end, or None where the Job goes on."""
    job = observed.job
    if job is None or not _speaks_for(job, run):
        return None
    if job.complete is not None:
        status = progress.completed(status, run)
        at, verdict, phase, behind = job.complete, _complete(status), Phase.SUCCEEDED, None
    elif job.failed is not None:
        told, cause = job_failure(run, job, observed.pods, status.failure)
        at, verdict, phase, behind = job.failed, _failed(told), Phase.FAILED, cause
    else:
        return None
    update = {
        "phase": phase,
        "completion_time": at,
        "failure": as_told(behind, status, observed.pods, now),
        "conditions": _conditions(resource, status, verdict, observed, now),
        "observed_generation": resource.generation,
    }
    return status.model_copy(update=update)


def pods_left(pods: Iterable[Pod], now: datetime) -> Verdict:
    """The condition PodsReady of a run that is over."""
    pod = held_by_its_node(pods, now)
    message = reasons.POD_HELD.format(pod=pod.name, node=pod.node) if pod else reasons.POD_END
    return Verdict(ConditionType.PODS_READY, "False", reasons.FINISHED, message)


def _speaks_for(job: Job, run: Run) -> bool:
    """Whether the end of the Job is the run's."""
    if not job.ours or not job.finished or job.hash != run_hash(run):
        return False
    caused_by_deletion = job.failed and job.deleted and job.failed >= job.deleted
    return not caused_by_deletion


def _complete(status: SiDDistillationStatus) -> Verdict:
    iterations = status.progress.iterations if status.progress is not None else None
    uri = status.student.uri if status.student is not None else ""
    message = reasons.DONE.format(iterations=iterations, uri=uri)
    return Verdict(COMPLETE, "True", reasons.COMPLETED, message)


def _failed(cause: Cause) -> Verdict:
    return Verdict(FAILED, "True", cause.reason, cause.message)


def _conditions(
    resource: Resource,
    status: SiDDistillationStatus,
    verdict: Verdict,
    observed: Observed,
    now: datetime,
) -> list[Condition]:
    verdicts = [
        pods_left(observed.pods, now),
        Verdict(ConditionType.RUNNING, "False", reasons.FINISHED, reasons.POD_END),
        *_settled(status.conditions, verdict),
        verdict,
    ]
    if find(status.conditions, ConditionType.ACCEPTED) is None:
        accepted = Verdict(ConditionType.ACCEPTED, "True", reasons.ACCEPTED, reasons.SPEC_VALID)
        verdicts.insert(0, accepted)
    seen = seen_at(resource.generation, status.conditions)
    return updated(seen, verdicts, resource.generation, now)


def _settled(conditions: list[Condition], verdict: Verdict) -> Iterator[Verdict]:
    """What conditions of a run that went on say once it is over."""
    for kind in (ConditionType.STALLED, ConditionType.SUSPENDED):
        if is_true(conditions, kind):
            yield Verdict(kind, "False", reasons.FINISHED, reasons.POD_END)
    kind = ConditionType.CHECKPOINTS
    stored = find(conditions, kind)
    if stored is None or stored.status != "False":
        return
    if verdict.type is COMPLETE:  # it ends only once its last checkpoint is stored
        yield Verdict(kind, "True", reasons.STORED, reasons.CHECKPOINT_STORED)
    else:
        yield Verdict(kind, "Unknown", reasons.FINISHED, reasons.CHECKPOINT_LAST)
