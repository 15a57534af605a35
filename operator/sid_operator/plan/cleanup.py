"""The clean-up Job of a resource with ``deletionPolicy: Delete``: when it is there, when let go.

Rules this module keeps:

* As long as the resource is there, its Job is there too and makes no pod, whatever the phase: one
  that somebody else let go is removed. Where another is wanted, it is made before the former goes.
* A Job whose resource is gone is let go once nothing of the run is left that might still write:
  no pod, and no Job that might make one.
* Only the very Job that was made for a resource is let go. A copy of it, such as a backup brings
  back, would empty the folder of a run that came out of the same backup.
* One that was let go, and is held back by the cluster for it is in no queue, is put into the queue
  that the resource named.
* A Job that failed is told, for nobody else looks at what it left.
* A new resource of the same name waits until the objects of the old one are gone.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from sid_operator import reasons
from sid_operator.kube.kinds import JOBS
from sid_operator.plan.jobs import Cleanup
from sid_operator.plan.model import Action, Apply, Delete, Merge, Notice, Observed, Resource
from sid_operator.resources.cleanup import (
    cleanup_hash,
    cleanup_job,
    mark_patch,
    queue_note_patch,
    queue_patch,
    release_patch,
)
from sid_operator.resources.metadata import Manifest
from sid_operator.resources.run import Run

PATIENCE = timedelta(seconds=30)
"""Time until a Job that was let go, and is held back again by somebody, is let go once more."""


def keeping(resource: Resource, observed: Observed) -> tuple[Action, ...]:
    """Changes of the Job of a resource that is there."""
    run = resource.run
    if run is None:
        return ()
    own = [job for job in observed.cleanups if job.of_uid == resource.uid]
    there = [job for job in own if not job.deleting]
    if run.spec.deletion_policy != "Delete":
        return tuple(_delete(job) for job in there)
    fitting = next((job for job in own if job.hash == cleanup_hash(run)), None)
    spoilt = [job for job in there if not job.dormant or job.finished]
    removed = tuple(_delete(job) for job in spoilt)
    if fitting is None:
        return (*removed, Apply(JOBS, cleanup_job(run), creates=True, marked=True))
    if fitting.deleting or fitting in spoilt:
        return removed
    if (patch := _note(run, fitting)) is not None:
        return (*removed, Merge(JOBS, fitting.name, patch))
    return tuple(_delete(job) for job in there if job is not fitting)


def orphans(
    cleanups: tuple[Cleanup, ...], living: str | None, known: Collection[str] = ()
) -> tuple[Cleanup, ...]:
    """Dormant Jobs whose resource is not the one that lives, if any, under this name.

    Args:
        cleanups: All clean-up Jobs under the name.
        living: uid of the resource that lives.
        known: uids of Jobs that were seen beside the resource that they were made for.
    """
    return tuple(
        job for job in _left(cleanups, living) if job.dormant and (job.original or job.uid in known)
    )


def copies(
    cleanups: tuple[Cleanup, ...], living: str | None, known: Collection[str] = ()
) -> tuple[Cleanup, ...]:
    """Jobs that would empty a folder without being known to be the ones that were made for it.

    One that was let go already bears no mark where an earlier version of the operator made it.
    """
    return tuple(
        job
        for job in _left(cleanups, living)
        if not job.original and job.uid not in known and (job.dormant or job.mark)
    )


def drop(job: Cleanup) -> Delete:
    """Delete a Job that may be a copy."""
    dropped = reasons.EVENT_CLEANING_DROPPED
    if job.mark:
        notice = Notice("Normal", dropped, reasons.CLEANING_COPIED.format(name=job.name))
    else:
        notice = Notice("Warning", dropped, reasons.CLEANING_UNSURE.format(name=job.name))
    return Delete(JOBS, job.name, job.uid, notice)


def waits_for(job_name: str) -> Notice:
    """The Event of a clean-up that waits for a Job which nobody but its user will delete."""
    message = reasons.CLEANING_WAITS.format(name=job_name)
    return Notice("Normal", reasons.EVENT_CLEANING_WAITS, message)


def is_due(job: Cleanup, now: datetime) -> bool:
    """Whether a dormant Job may be let go now: it was not a moment ago."""
    return job.released is None or not timedelta() <= now - job.released < PATIENCE


def release(job: Cleanup, now: datetime) -> Merge:
    """Let a Job go."""
    notice = Notice("Normal", reasons.EVENT_CLEANING, reasons.CLEANING_UP)
    return Merge(JOBS, job.name, release_patch(job.uid, job.started, now), notice)


def unqueued(cleanups: tuple[Cleanup, ...], living: str | None) -> tuple[Cleanup, ...]:
    """Jobs that were let go, and that the cluster holds back for they are in no queue."""
    return tuple(
        job
        for job in _left(cleanups, living)
        if not job.dormant and job.suspended and job.noted_queue and not job.queue
    )


def enqueue(job: Cleanup) -> Merge:
    """Put such a Job into the queue of its run."""
    return Merge(JOBS, job.name, queue_patch(job.uid, job.noted_queue))


def failures(cleanups: tuple[Cleanup, ...], living: str | None) -> tuple[Cleanup, ...]:
    """Jobs that failed, and whose resource is gone."""
    return tuple(job for job in cleanups if job.of_uid != living and job.failed)


def not_cleaned(job: Cleanup) -> Notice:
    """The Event of a Job that failed."""
    details = f"{job.failed.rstrip('.')}."
    message = reasons.NOT_CLEANED.format(details=details, name=job.name)
    return Notice("Warning", reasons.EVENT_NOT_CLEANED, message)


def cleaning(uid: str, observed: Observed) -> Cleanup | None:
    """The Job that removes objects of an earlier resource of this name, of another uid, if any."""
    left = (job for job in observed.cleanups if job.of_uid != uid and not job.finished)
    return min(left, key=lambda job: job.name, default=None)


def still_cleaning(job: Cleanup) -> str:
    """What a resource that waits for such a Job is told."""
    held = reasons.CLEANING_HELD.format(queue=job.queue or "of the cluster")
    waits = job.released is not None and job.suspended
    return reasons.STILL_CLEANING.format(name=job.name, held=f" {held}" if waits else "")


def _note(run: Run, job: Cleanup) -> Manifest | None:
    """What is still to be written into the Job of a run, or None."""
    if not job.original:
        return mark_patch(job.uid)
    queue = run.spec.scheduling.queue_name
    return queue_note_patch(job.uid, queue) if (queue or "") != job.noted_queue else None


def _left(cleanups: tuple[Cleanup, ...], living: str | None) -> tuple[Cleanup, ...]:
    return tuple(
        job for job in cleanups if job.of_uid != living and not job.deleting and not job.finished
    )


def _delete(job: Cleanup) -> Delete:
    return Delete(JOBS, job.name, job.uid)
