"""A change of the spec in place: the Job is deleted and made anew, by intent, not by a failure.

Rules this module keeps:

* As long as the Job of another spec is there, and until the new one is, what its pods say is no
  failure of the run.
* A Job that is absent because it was deleted for this, or because the run was suspended, was not
  lost.
"""

from __future__ import annotations

from sid_operator import reasons
from sid_operator.api.conditions import ConditionType
from sid_operator.plan.conditions import find
from sid_operator.plan.model import Observed, Resource
from sid_operator.resources.metadata import run_hash
from sid_operator.resources.run import Run


def is_under_way(resource: Resource, run: Run, observed: Observed) -> bool:
    """Whether the pods are being made anew because the spec was changed."""
    job = observed.job
    if job is not None:
        # Where its deletion is refused, it goes on.
        return job.ours and observed.refusal is None and job.hash != run_hash(run)
    held = _reason_held(resource)
    if resource.status.start_time is None or held in (None, reasons.SUSPENDED):
        return False
    # The old Job may be gone before anything was told of the change.
    unseen = resource.status.observed_generation != resource.generation
    return held == reasons.CHANGED or unseen


def is_lost(resource: Resource, run: Run, observed: Observed) -> bool:
    """Whether a Job that is absent should be there."""
    started = resource.status.start_time is not None
    meant = _reason_held(resource) == reasons.SUSPENDED or is_under_way(resource, run, observed)
    return started and not meant


def _reason_held(resource: Resource) -> str | None:
    """What the condition Running gave as its reason."""
    running = find(resource.status.conditions, ConditionType.RUNNING)
    return running.reason if running is not None else None
