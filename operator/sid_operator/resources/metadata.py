"""What all children have in common: labels, owner, and the hash that tells whether to apply.

Rule: the hash of ConfigMap and Job is taken from what the *user* asked for, not from what this
version of the operator renders: an upgrade of the operator must not restart runs that are going
on, nor hand an old image a new configuration.

The user's labels and annotations are on everything; ours, which theirs cannot name, go before them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from sid_operator.api import names
from sid_operator.kube.kinds import Object
from sid_operator.resources.first_defaults import with_first_defaults
from sid_operator.resources.run import Run

Manifest = Object
"""An object as it is to be."""
Part = Mapping[str, bool | set[str]]
"""Fields of the spec: of a section those named, or all of it."""

HASH_LENGTH = 16


def digest(content: object) -> str:
    """Hash of anything that JSON can write, independent of the order of keys."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_LENGTH]


def run_hash(run: Run) -> str:
    """Hash of what the user asked for, but for what is changed in place or concerns no pod.

    Of the class in the queue it tells whether there is one: Kueue lets a running Job have another,
    but neither be given a first one nor lose it.

    Defaults are left out, so that a field that is new with this version changes nothing; nor does
    a default that is another than before (:mod:`sid_operator.resources.first_defaults`).
    """
    wanted, added = with_first_defaults(run.spec)
    spec = wanted.model_dump(
        by_alias=True,
        mode="json",
        exclude={
            "run_policy": True,
            "deletion_policy": True,
            "teacher": {"architecture"},
            "scheduling": {"workload_priority_class"},
        },
        exclude_defaults=True,
    )
    if run.spec.scheduling.workload_priority_class is not None:
        spec["scheduling"] = {**spec.get("scheduling", {}), "workloadPriorityClass": True}
    return digest([spec, added] if added else spec)


def hash_of_part(run: Run, part: Part) -> str:
    """Hash of what the user asked for in a part of the spec, made as :func:`run_hash` is."""
    wanted, added = with_first_defaults(run.spec)
    spec = wanted.model_dump(by_alias=True, mode="json", include=part, exclude_defaults=True)
    added = {path: value for path, value in added.items() if _is_within(path, part)}
    return digest([spec, added] if added else spec)


def _is_within(path: str, part: Part) -> bool:
    section, name, *_ = *path.split("."), ""
    names_of = part.get(section, False)
    return names_of if isinstance(names_of, bool) else name in names_of


def policy_hash(run: Run) -> str:
    """Hash of what the Job is given in place: run policy and class in the queue."""
    policy = run.spec.run_policy.model_dump(
        by_alias=True, mode="json", exclude={"ttl_seconds_after_finished", "room_check"}
    )
    of_queue = run.spec.scheduling.workload_priority_class
    return digest(policy if of_queue is None else [policy, of_queue])


def content_hash(run: Run, spec: Manifest) -> str:
    """Hash of a child that is applied anew wherever what it says, or bears, is another."""
    borne = [run.spec.labels, run.spec.annotations]
    return digest([spec, *borne] if any(borne) else spec)


def labels(run: Run, component: str = names.COMPONENT_WORKER) -> dict[str, str]:
    """Our labels of every child and pod."""
    return {
        "app.kubernetes.io/name": "sid-trainer",
        "app.kubernetes.io/instance": run.name,
        names.LABEL_COMPONENT: component,
        "app.kubernetes.io/part-of": names.OPERATOR,
        "app.kubernetes.io/managed-by": names.OPERATOR,
        names.LABEL_DISTILLATION: run.name,
        names.LABEL_NO_BACKUP: "true",
    }


def owner_reference(run: Run) -> Manifest:
    """The reference by which Kubernetes deletes a child with its resource."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "name": run.name,
        "uid": run.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def pod_metadata(
    run: Run, own: Mapping[str, str], annotations: Mapping[str, str] | None = None
) -> Manifest:
    """Metadata of a pod template: the user's labels and annotations, and over them ours."""
    spec, workers = run.spec, run.spec.workers
    found: Manifest = {"labels": {**spec.labels, **workers.pod_labels, **own}}
    if every := {**spec.annotations, **workers.pod_annotations, **(annotations or {})}:
        found["annotations"] = every
    return found


def metadata(run: Run, name: str, annotations: Mapping[str, str]) -> Manifest:
    """Metadata of a child that goes with the resource; ``annotations`` are ours."""
    return {
        **borne(run, name, annotations),
        "ownerReferences": [owner_reference(run)],
    }


def borne(
    run: Run,
    name: str,
    annotations: Mapping[str, str],
    component: str = names.COMPONENT_WORKER,
) -> Manifest:
    """Name, labels and annotations of a child, the user's among them."""
    return {
        "name": name,
        "namespace": run.namespace,
        "labels": {**run.spec.labels, **labels(run, component)},
        "annotations": {**run.spec.annotations, **annotations},
    }
