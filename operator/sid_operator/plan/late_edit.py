"""A change of the spec of a run that is over: nothing follows from it, which is told once.

Rules this module keeps:

* The change is taken notice of (``observedGeneration``), lest a program wait for that without end.
* What still has an effect (``deletionPolicy``, ``ttlSecondsAfterFinished``), or changes nothing
  that was run, is no matter to tell.
"""

from __future__ import annotations

from datetime import datetime

from sid_operator import reasons
from sid_operator.api.conditions import ConditionType
from sid_operator.api.status import SiDDistillationStatus
from sid_operator.plan.conditions import Verdict, find, seen_at, updated
from sid_operator.plan.model import Notice, Observed, Resource
from sid_operator.resources.metadata import policy_hash, run_hash


def is_new(resource: Resource) -> bool:
    """Whether the spec was changed since the status was written."""
    return resource.status.observed_generation != resource.generation


def noticed(
    resource: Resource, observed: Observed, status: SiDDistillationStatus, now: datetime
) -> SiDDistillationStatus:
    """The status after a change: it was seen, and the condition Accepted says what follows.

    Args:
        resource: The run is over, and its spec was changed.
        observed: Tells what was run.
        status: What it is otherwise.
        now: The time, in UTC.
    """
    conditions = seen_at(resource.generation, status.conditions)
    accepted = find(conditions, ConditionType.ACCEPTED)
    if accepted is None or accepted.status == "True":
        message = _message(resource) if _is_vain(resource, observed) else reasons.SPEC_VALID
        reason = reasons.ACCEPTED if message == reasons.SPEC_VALID else reasons.NO_EFFECT
        verdict = Verdict(ConditionType.ACCEPTED, "True", reason, message)
        conditions = updated(conditions, [verdict], resource.generation, now)
    update = {"observed_generation": resource.generation, "conditions": conditions}
    return status.model_copy(update=update)


def notices(resource: Resource, observed: Observed) -> tuple[Notice, ...]:
    """The Event of a change that has no effect."""
    if not is_new(resource) or not _is_vain(resource, observed):
        return ()
    known_by = f"generation {resource.generation}"
    return (Notice("Warning", reasons.NO_EFFECT, _message(resource), known_by=known_by),)


def _is_vain(resource: Resource, observed: Observed) -> bool:
    """Whether the spec differs from what was run, as far as somebody still knows that."""
    run, job, config_map = resource.run, observed.job, observed.config_map
    if run is None:
        return True
    if job is not None and job.ours:
        return (job.hash, job.policy_hash) != (run_hash(run), policy_hash(run))
    return config_map is not None and config_map.ours and config_map.hash != run_hash(run)


def _message(resource: Resource) -> str:
    run = resource.run
    removes = run is not None and run.spec.deletion_policy == "Delete"
    return f"{reasons.EDITED_LATE} {reasons.KEEP_FOLDER}" if removes else reasons.EDITED_LATE
