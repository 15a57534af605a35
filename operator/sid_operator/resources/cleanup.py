"""The clean-up Job: it removes the run's folder from the bucket once the resource is gone.

Rules this module keeps:

* It is made, with no pod, while the resource lives, and let go when the resource is gone. So no
  finalizer is needed: a deletion never waits for the operator, and one that happens while the
  operator is away is caught up with.
* Two locks hold it, for it would empty the folder of a run that trains: it is suspended, and its
  parallelism is 0. A queue may open the first, which is its own; the second is the operator's.
* It has no owner, or it would go with the resource; it removes itself when it is done.
* What it removes is in its pod template, which nobody can change: who may edit other objects of the
  namespace gains nothing.
* It says which uid it has itself (:func:`mark_patch`), as soon as it has one: a copy that a backup
  brings back, together with the resource, must not empty that one's folder.
* Its hash, which is in its name too, is that of what the user asked for: an upgrade of the
  operator, or of its default image, leaves it alone; where the user asks for something else, the
  new Job can be there before the former goes.
* Its pod may go where those of the run may, for other nodes may be closed to the namespace, and has
  requests and limits, which a quota may ask for.
* It knows the run's queue, but is in none before it is held back without one: Kueue may be told to
  start no such Job (``manageJobsWithoutQueueName``), and a queue for GPUs may take no Job that asks
  for cpu and memory. The queue is no part of the hash: it is changed in place.
* It has a deadline, counted from when it is let go: a Secret or service account that is gone, or a
  store that does not answer, keeps it for an hour.
"""

from __future__ import annotations

from datetime import datetime

from sid_operator.api import names
from sid_operator.api.fields import rfc3339
from sid_operator.resources import bucket, placement
from sid_operator.resources.metadata import (
    Manifest,
    Part,
    borne,
    digest,
    hash_of_part,
    labels,
    pod_metadata,
)
from sid_operator.resources.pod import CONTAINER_SECURITY, POD_SECURITY
from sid_operator.resources.run import Run

DEADLINE_SECONDS = 3600
KEPT_SECONDS = 3600
"""How long a finished Job stays, for a look at its log."""
ASKED: Part = {
    "labels": True,
    "annotations": True,
    "checkpoint": {
        *("bucket", "prefix", "endpoint", "region", "addressing", "ca_bundle_ref", "secret_ref"),
        "service_account_name",
    },
    "workers": {
        *("image", "image_pull_policy", "image_pull_secrets", "pod_labels", "pod_annotations"),
        *("node_selector", "node_affinity", "tolerations"),
    },
}
"""The fields of the spec that it is made from."""
RESOURCES: Manifest = {
    "requests": {"cpu": "100m", "memory": "128Mi"},
    "limits": {"cpu": "1", "memory": "1Gi"},
}
"""It takes 60 MiB; that of a trainer's image of before loads torch, and takes 560."""
_NAME_LENGTH = 40


def cleanup_name(run: Run) -> str:
    """Name of the Job: another for each resource that bore the name, and for each hash."""
    mark = digest([run.uid, cleanup_hash(run)])[:8]
    return f"{run.name[:_NAME_LENGTH].rstrip('-')}-cleanup-{mark}"


def cleanup_hash(run: Run) -> str:
    """Hash of what the user asked for, as far as the Job depends on it."""
    return hash_of_part(run, ASKED)


def cleanup_job(run: Run) -> Manifest:
    """The Job, which makes no pod until it is let go."""
    spec = {
        "suspend": True,
        "parallelism": 0,
        "completions": 1,
        "backoffLimit": 5,
        "ttlSecondsAfterFinished": KEPT_SECONDS,
        "template": {"metadata": _pod_metadata(run), "spec": _pod_spec(run)},
    }
    ours = {names.ANNOTATION_HASH: cleanup_hash(run), names.ANNOTATION_UID: run.uid}
    if (queue := run.spec.scheduling.queue_name) is not None:
        ours[names.ANNOTATION_QUEUE] = queue
    metadata = borne(run, cleanup_name(run), ours, names.COMPONENT_CLEANUP)
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def mark_patch(uid: str) -> Manifest:
    """The merge patch that writes the Job's own uid into it, of the Job of this uid only."""
    return {"metadata": {"uid": uid, "annotations": {names.ANNOTATION_SELF: uid}}}


def queue_note_patch(uid: str, queue: str | None) -> Manifest:
    """The merge patch that writes the run's queue into the Job of this uid."""
    return {"metadata": {"uid": uid, "annotations": {names.ANNOTATION_QUEUE: queue}}}


def queue_patch(uid: str, queue: str) -> Manifest:
    """The merge patch that puts the Job of this uid, which is suspended, into a queue."""
    return {"metadata": {"uid": uid, "labels": {names.LABEL_QUEUE: queue}}}


def release_patch(uid: str, started: datetime | None, now: datetime) -> Manifest:
    """The merge patch that lets the Job go.

    Args:
        uid: That of the Job: no other of its name is let go.
        started: Since when Kubernetes counts the Job's deadline, where a queue let it start.
        now: The time, in UTC.
    """
    waited = int((now - started).total_seconds()) if started is not None else 0
    return {
        "metadata": {
            "uid": uid,
            "annotations": {names.ANNOTATION_RELEASED: rfc3339(now), names.ANNOTATION_SELF: uid},
        },
        "spec": {
            "suspend": False,
            "parallelism": 1,
            "activeDeadlineSeconds": max(waited, 0) + DEADLINE_SECONDS,
        },
    }


def _pod_metadata(run: Run) -> Manifest:
    """Labels and annotations of its pod, which is none of the run's gang."""
    own = labels(run, names.COMPONENT_CLEANUP)
    del own[names.LABEL_DISTILLATION]
    return pod_metadata(run, own)


def _pod_spec(run: Run) -> Manifest:
    spec: Manifest = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": POD_SECURITY,
        "containers": [_container(run)],
    }
    if volumes := bucket.ca_volumes(run):
        spec["volumes"] = volumes
    if run.pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in run.pull_secrets]
    if affinity := placement.node_affinity(run):
        spec["affinity"] = {"nodeAffinity": affinity}
    return spec | bucket.service_account(run) | placement.nodes(run)


def _container(run: Run) -> Manifest:
    container: Manifest = {
        "name": names.TRAINER_CONTAINER,
        "image": run.image,
        "args": bucket.remove_arguments(run),
        "env": bucket.credentials(run),
        "resources": RESOURCES,
        "securityContext": CONTAINER_SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    if mounts := bucket.ca_mounts(run):
        container["volumeMounts"] = mounts
    if run.spec.workers.image_pull_policy is not None:
        container["imagePullPolicy"] = run.spec.workers.image_pull_policy
    return container
