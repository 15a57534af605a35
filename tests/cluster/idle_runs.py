"""Runs whose pods need no trainer: they wait for a Secret or an image, or fail to start.

They are served by the operator of the checkout; runs of the real trainer are tested elsewhere.
"""

from __future__ import annotations

import json
from typing import Any

from tests.cluster import kubectl

WITHIN_A_MINUTE = 60.0
NO_SUCH_IMAGE = "registry.invalid/sid-trainer:1.0"


def distillation(name: str, **workers: Any) -> dict[str, Any]:
    """A small resource; keyword arguments stand in spec.workers."""
    resources = {"requests": {"cpu": "10m", "memory": "16Mi"}}
    return {
        "apiVersion": "sid-dit.dev/v1alpha1",
        "kind": "SiDDistillation",
        "metadata": {"name": name},
        "spec": {
            "teacher": {"model": "s3://sid/teachers/none"},
            "data": {"prompts": {"uri": "s3://sid/prompts/none.txt"}},
            "training": {"iterations": 10, "batchSize": 4},
            "checkpoint": {"bucket": "sid", "secretRef": {"name": "credentials"}},
            "workers": {
                "nodes": 2,
                "gpusPerNode": 0,
                "image": NO_SUCH_IMAGE,
                "imagePullPolicy": "IfNotPresent",
                "sharedMemory": "16Mi",
                "resources": resources,
                **workers,
            },
        },
    }


def create(namespace: str, resource: dict[str, Any]) -> None:
    """Create a resource."""
    kubectl.kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps(resource))


def status(namespace: str, name: str) -> dict[str, Any]:
    """The status of a resource."""
    found: dict[str, Any] = kubectl.get("-n", namespace, "sid", name).get("status", {})
    return found


def failure(namespace: str, name: str) -> str:
    """The reason in status.failure."""
    return str(status(namespace, name).get("failure", {}).get("reason", ""))


def wait_for_failure(
    namespace: str, name: str, reason: str, seconds: float = WITHIN_A_MINUTE
) -> str:
    """Wait until status.failure has this reason; gives what ``kubectl describe`` shows."""
    kubectl.wait_until(
        f"failure {reason}",
        lambda: failure(namespace, name) == reason,
        seconds=seconds,
    )
    return kubectl.kubectl("-n", namespace, "describe", "sid", name)


def wait_for_phase(namespace: str, name: str, phase: str) -> None:
    """Wait until status.phase is this."""
    kubectl.wait_until(
        f"phase {phase}", lambda: status(namespace, name).get("phase") == phase, seconds=60
    )


def children(namespace: str) -> dict[str, dict[str, Any]]:
    """All children by kind."""
    items = kubectl.get(
        *("-n", namespace, "configmaps,services,jobs"),
        *("-l", "sid-dit.dev/distillation", "--show-managed-fields"),
    )["items"]
    return {item["kind"]: item for item in items}


def settled(namespace: str, name: str) -> None:
    """Wait until the status tells that the image is missing."""
    wait_for_failure(namespace, name, "ImagePullFailed")


def left(namespace: str) -> list[Any]:
    """All children, and all pods of them."""
    kinds = "configmaps,services,jobs,pods"
    found: list[Any] = kubectl.get("-n", namespace, kinds, "-l", "sid-dit.dev/distillation")[
        "items"
    ]
    return found


def an_image_that_is_there() -> str:
    """Any image that the node has; its program does not matter."""
    (node,) = kubectl.get("nodes")["items"]
    names = [name for image in node["status"]["images"] for name in image["names"]]
    return str(next(name for name in names if "@" not in name and "pause" in name))
