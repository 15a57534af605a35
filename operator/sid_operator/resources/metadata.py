"""What all children have in common: labels, owner, and the hash that tells whether to apply.

Rule: the hash of ConfigMap and Job is taken from what the *user* asked for, not from what this
version of the operator renders: an upgrade of the operator must not restart runs that are going
on, nor hand an old image a new configuration.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from sid_operator.api import names
from sid_operator.resources.first_defaults import with_first_defaults
from sid_operator.resources.run import Run

Manifest = dict[str, Any]

ANNOTATION_POLICY_HASH = f"{names.GROUP}/policy-hash"
"""On the Job: hash of the run policy that it was last given."""
HASH_LENGTH = 16


def digest(content: object) -> str:
    """Hash of anything that JSON can write, independent of the order of keys."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_LENGTH]


def run_hash(run: Run) -> str:
    """Hash of what the user asked for, but for what is changed in place or concerns no pod.

    Defaults are left out, so that a field that is new with this version changes nothing; nor does
    a default that is another than before (:mod:`sid_operator.resources.first_defaults`).
    """
    wanted, added = with_first_defaults(run.spec)
    spec = wanted.model_dump(
        by_alias=True,
        mode="json",
        exclude={"run_policy": True, "deletion_policy": True, "teacher": {"architecture"}},
        exclude_defaults=True,
    )
    return digest([spec, added] if added else spec)


def policy_hash(run: Run) -> str:
    """Hash of the part of the run policy that the Job carries."""
    policy = run.spec.run_policy.model_dump(
        by_alias=True, mode="json", exclude={"ttl_seconds_after_finished", "room_check"}
    )
    return digest(policy)


def labels(run: Run, component: str = names.COMPONENT_WORKER) -> dict[str, str]:
    """Labels of every child and pod."""
    return {
        "app.kubernetes.io/name": "sid-trainer",
        "app.kubernetes.io/instance": run.name,
        names.LABEL_COMPONENT: component,
        "app.kubernetes.io/part-of": "sid-operator",
        "app.kubernetes.io/managed-by": "sid-operator",
        names.LABEL_DISTILLATION: run.name,
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
    workers = run.spec.workers
    found: Manifest = {"labels": {**workers.pod_labels, **own}}
    if every := {**workers.pod_annotations, **(annotations or {})}:
        found["annotations"] = every
    return found


def metadata(run: Run, name: str, content_hash: str) -> Manifest:
    """Metadata of a child."""
    return {
        "name": name,
        "namespace": run.namespace,
        "labels": labels(run),
        "annotations": {names.ANNOTATION_HASH: content_hash},
        "ownerReferences": [owner_reference(run)],
    }
