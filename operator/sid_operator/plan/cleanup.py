"""The clean-up Job of a resource with ``deletionPolicy: Delete``: when it is there, when let go.

Rules this module keeps:

* As long as the resource is there, its Job is there too and makes no pod, whatever the phase: one
  that somebody else let go is removed.
* A Job whose resource is gone is let go once no pod of the run is left that might still write.
* A Job that failed is told, for nobody else looks at what it left.
* A new resource of the same name waits until the objects of the old one are gone.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sid_operator import reasons
from sid_operator.api.names import ANNOTATION_HASH
from sid_operator.kube.kinds import JOBS
from sid_operator.plan.model import Action, Apply, Delete, Merge, Notice, Observed, Resource
from sid_operator.plan.observed import Cleanup
from sid_operator.resources.cleanup import cleanup_job, release_patch

PATIENCE = timedelta(seconds=30)
"""Time until a Job that was let go, and is held back again by somebody, is let go once more."""


def keeping(resource: Resource, observed: Observed) -> tuple[Action, ...]:
    """Changes of the Job of a resource that is there."""
    run = resource.run
    if run is None:
        return ()
    own = [job for job in observed.cleanups if job.of_uid == resource.uid]
    if run.spec.deletion_policy != "Delete":
        return tuple(_delete(job) for job in own if not job.deleting)
    wanted = cleanup_job(run)
    if not own:
        return (Apply(JOBS, wanted, creates=True),)
    fitting = wanted["metadata"]["annotations"][ANNOTATION_HASH]
    stale = [job for job in own if job.hash != fitting or not job.dormant]
    return tuple(_delete(job) for job in stale if not job.deleting)


def orphans(cleanups: tuple[Cleanup, ...], living: str | None) -> tuple[Cleanup, ...]:
    """Dormant Jobs whose resource is not the one that lives, if any, under this name."""
    return tuple(
        job
        for job in cleanups
        if job.of_uid != living and job.dormant and not job.deleting and not job.finished
    )


def is_due(job: Cleanup, now: datetime) -> bool:
    """Whether a dormant Job may be let go now: it was not a moment ago."""
    return job.released is None or not timedelta() <= now - job.released < PATIENCE


def release(job: Cleanup, now: datetime) -> Merge:
    """Let a Job go."""
    notice = Notice("Normal", reasons.EVENT_CLEANING, reasons.CLEANING_UP)
    return Merge(JOBS, job.name, release_patch(job.started, now), notice)


def failures(cleanups: tuple[Cleanup, ...], living: str | None) -> tuple[Cleanup, ...]:
    """Jobs that failed, and whose resource is gone."""
    return tuple(job for job in cleanups if job.of_uid != living and job.failed)


def not_cleaned(job: Cleanup) -> Notice:
    """The Event of a Job that failed."""
    details = f"{job.failed.rstrip('.')}."
    message = reasons.NOT_CLEANED.format(details=details, name=job.name)
    return Notice("Warning", reasons.EVENT_NOT_CLEANED, message)


def is_cleaning(uid: str, observed: Observed) -> bool:
    """Whether objects of an earlier resource of this name, of another uid, are being removed."""
    return any(job.of_uid != uid and not job.finished for job in observed.cleanups)


def _delete(job: Cleanup) -> Delete:
    return Delete(JOBS, job.name, job.uid)
