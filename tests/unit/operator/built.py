"""The pods of a Job as the builders make them."""

from __future__ import annotations

from typing import Any

from sid_operator.resources.job import job
from tests.unit.operator import world

ALL_SET: dict[str, Any] = {
    "teacher": {"model": "a/b", "tokenSecretRef": {"name": "hub"}},
    "workers": {
        "nodes": 4,
        "gpusPerNode": 8,
        "image": world.IMAGE,
        "imagePullPolicy": "Always",
        "imagePullSecrets": [{"name": "pull"}],
        "resources": {"limits": {"cpu": 8, "memory": "64Gi"}},
        "nodeSelector": {"gpu": "h100"},
        "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "volumes": [{"name": "models", "claimName": "weights", "mountPath": "/mnt/models"}],
        "sharedMemory": "16Gi",
    },
    "scheduling": {"queueName": "q", "schedulerName": "other", "priorityClassName": "high"},
    "runPolicy": {"backoffLimit": 2, "activeDeadlineSeconds": 3600},
}


def pod_spec(**spec: Any) -> dict[str, Any]:
    """What a pod is to run, of a resource with these sections."""
    found: dict[str, Any] = job(world.run(**spec))["spec"]["template"]["spec"]
    return found


def container(**spec: Any) -> dict[str, Any]:
    """Its container."""
    found: dict[str, Any] = pod_spec(**spec)["containers"][0]
    return found
