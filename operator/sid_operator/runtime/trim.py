"""The fields of each kind that the cache keeps, so that memory follows what is read.

A field that planning starts to read must be added here first; the tests of the controller against
a real API server would miss it otherwise.
"""

from __future__ import annotations

from sid_operator.api.names import GPU_RESOURCE
from sid_operator.kube.kinds import Object

_METADATA = (
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "labels",
    "annotations",
    "ownerReferences",
)
_JOB_SPEC = ("suspend", "parallelism", "backoffLimit", "activeDeadlineSeconds")
_POD_SPEC = ("nodeName", "schedulerName", "schedulingGates")
_POD_STATUS = ("phase", "reason", "message", "podIP", "conditions", "containerStatuses")
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def trim_resource(obj: Object) -> Object:
    """A SiDDistillation: all but managed fields and kubectl's copy of it."""
    return {
        "metadata": _metadata(obj),
        "spec": obj.get("spec") or {},
        "status": obj.get("status") or {},
    }


def trim_child(obj: Object) -> Object:
    """A ConfigMap or Service: that it is there, whose it is, and the hash it was applied with."""
    return {"metadata": _metadata(obj)}


def trim_job(obj: Object) -> Object:
    """A Job: its switches and its status; the pod template is known by its hash."""
    spec = obj.get("spec") or {}
    return {
        "metadata": _metadata(obj),
        "spec": _pick(spec, _JOB_SPEC),
        "status": obj.get("status") or {},
    }


def trim_pod(obj: Object) -> Object:
    """A pod: where it is and how its container does."""
    return {
        "metadata": _metadata(obj),
        "spec": _pick(obj.get("spec") or {}, _POD_SPEC),
        "status": _pick(obj.get("status") or {}, _POD_STATUS),
    }


def trim_node(obj: Object) -> Object:
    """A node: its labels, its taints, and how many GPUs it has."""
    allocatable = (obj.get("status") or {}).get("allocatable") or {}
    return {
        "metadata": _pick(obj["metadata"], ("name", "resourceVersion", "labels")),
        "spec": _pick(obj.get("spec") or {}, ("taints",)),
        "status": {"allocatable": _pick(allocatable, (GPU_RESOURCE,))},
    }


def _metadata(obj: Object) -> Object:
    metadata = _pick(obj["metadata"], _METADATA)
    if LAST_APPLIED in (metadata.get("annotations") or {}):
        kept = {k: v for k, v in metadata["annotations"].items() if k != LAST_APPLIED}
        metadata["annotations"] = kept
    return metadata


def _pick(obj: Object, keys: tuple[str, ...]) -> Object:
    return {key: obj[key] for key in keys if key in obj}
