"""Which children there should be, and what to change to get there.

Rules this module keeps:

* A child that is there with the right hash is left alone; a missing one is created again, as long
  as the run is not over.
* What belongs to somebody else is never touched; what is being deleted is waited for.
* A Job that is made finds the configuration as this version of the operator writes it, whatever
  one of before wrote for the same spec: its image is that of this version, too.
* No Job is made while anything of an earlier resource of the name is being removed (its pods would
  read another's configuration), nor while a pod of an earlier Job is there: it would meet the new
  ones, and write into the same folder.
* A Job whose spec no longer fits is deleted with its pods, and made anew when it is gone; so is one
  that ended before its spec was changed. One that may train is deleted, and its configuration
  changed, only where the cluster would take the new one: a change that it refuses stops nothing.
* A new Job is made only where nothing else was refused; what stops or changes a Job waits for
  nothing.
* A suspended run has no Job where there is none, nor where a queue owns the Job's ``suspend``: any
  Job that is there may be admitted.
"""

from __future__ import annotations

import dataclasses

from sid_operator import reasons
from sid_operator.api.names import ANNOTATION_CONTENT, ANNOTATION_HASH
from sid_operator.kube.kinds import CONFIG_MAPS, JOBS, SERVICES, Kind
from sid_operator.plan.change import is_lost
from sid_operator.plan.cleanup import cleaning
from sid_operator.plan.jobs import Job
from sid_operator.plan.model import (
    Action,
    Apply,
    Child,
    Delete,
    Merge,
    Notice,
    Observed,
    Resource,
    Try,
)
from sid_operator.plan.pods import Pod
from sid_operator.plan.wear import ENDING, is_worn_out
from sid_operator.resources.config_map import config_map
from sid_operator.resources.job import job, policy_patch
from sid_operator.resources.metadata import Manifest, policy_hash, run_hash
from sid_operator.resources.run import Run
from sid_operator.resources.service import service


def conflict(resource: Resource, observed: Observed) -> str:
    """What is in the way under the name of a child, or ""."""
    run = resource.run
    if run is None:
        return ""
    candidates = (
        (CONFIG_MAPS, run.config_map_name, observed.config_map),
        (SERVICES, run.name, observed.service),
        (JOBS, run.name, observed.job),
    )
    for kind, name, child in candidates:
        if child is not None and not child.ours and not child.deleting:
            return reasons.CONFLICT.format(kind=kind.name, name=name)
    return ""


def actions(resource: Resource, observed: Observed, *, held: bool) -> tuple[Action, ...]:
    """Changes of the children of a run that is not over and that nothing is in the way of.

    Args:
        resource: As the API server holds it.
        observed: What is seen of its children.
        held: No Job is to be made for now.
    """
    run = resource.run
    if run is None:
        return ()
    restoring = resource.status.start_time is not None
    if observed.job is not None:
        of_job = _changed_job(run, observed.job, observed.pods)
    elif held or _waits(run, observed):
        of_job = None
    else:
        lost = is_lost(resource, run, observed)
        notice = _restored(JOBS, run.name) if lost else None
        of_job = Apply(JOBS, job(run), creates=True, notice=notice, dependent=True)
    of_map = _config_map(run, observed.config_map, restoring, with_job=isinstance(of_job, Apply))
    of_service = _settled(SERVICES, service(run), observed.service, restoring)
    wanted: list[Action | None] = [of_map, of_service, of_job]
    if isinstance(of_job, Delete) and of_job.dependent:
        kept = dataclasses.replace(of_map, dependent=True) if of_map is not None else None
        wanted = [Try(JOBS, job(run)), kept, of_service, of_job]
    return tuple(action for action in wanted if action is not None)


def created(run: Run) -> Notice:
    """The Event of a run's first Job."""
    nodes = run.spec.workers.nodes
    message = reasons.CREATED.format(
        name=run.name, nodes=nodes, pods="pod" if nodes == 1 else "pods"
    )
    return Notice("Normal", reasons.EVENT_CREATED, message)


def _waits(run: Run, observed: Observed) -> bool:
    """Whether it is too early for a Job."""
    suspended = run.spec.run_policy.suspend
    earlier = observed.leftovers or bool(observed.strays)
    return suspended or earlier or cleaning(run.uid, observed) is not None


def _config_map(run: Run, seen: Child | None, restoring: bool, *, with_job: bool) -> Apply | None:
    """Rendering it takes longer than all other planning: it is done where it may be applied."""
    if seen is None:
        return _settled(CONFIG_MAPS, config_map(run), seen, restoring)
    fits = seen.hash == run_hash(run)
    if seen.deleting or (fits and not with_job):
        return None
    manifest = config_map(run)
    if fits and seen.content == manifest["metadata"]["annotations"][ANNOTATION_CONTENT]:
        return None
    return Apply(CONFIG_MAPS, manifest, creates=False)


def _settled(kind: Kind, manifest: Manifest, seen: Child | None, restoring: bool) -> Apply | None:
    if seen is None:
        notice = _restored(kind, manifest["metadata"]["name"]) if restoring else None
        return Apply(kind, manifest, creates=True, notice=notice)
    wanted_hash = manifest["metadata"]["annotations"][ANNOTATION_HASH]
    if seen.deleting or seen.hash == wanted_hash:
        return None
    return Apply(kind, manifest, creates=False)


def _changed_job(run: Run, seen: Job, pods: tuple[Pod, ...]) -> Action | None:
    if seen.deleting:
        return None
    if run.spec.run_policy.suspend and seen.queue:
        return Delete(JOBS, run.name, seen.uid)
    if seen.hash != run_hash(run):
        notice = Notice("Normal", reasons.EVENT_RECREATING, reasons.SPEC_CHANGED)
        may_train = not (run.spec.run_policy.suspend or seen.finished)
        return Delete(JOBS, run.name, seen.uid, notice, dependent=may_train)
    if seen.policy_hash != policy_hash(run):
        notice = Notice("Normal", reasons.EVENT_UPDATED, reasons.POLICY_CHANGED)
        by_pod = seen.pod_limit is not None
        patch = policy_patch(run, queued=bool(seen.queue), by_pod=by_pod)
        return Merge(JOBS, run.name, patch, notice)
    return Merge(JOBS, run.name, ENDING) if is_worn_out(seen, pods) else None


def _restored(kind: Kind, name: str) -> Notice:
    message = reasons.RESTORED.format(kind=kind.name, name=name)
    return Notice("Normal", reasons.EVENT_RESTORED, message)
