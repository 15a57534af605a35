"""A life of a resource in which the operator uses every right that it has, without any node."""

from __future__ import annotations

import json
from typing import Any

from tests.cluster import kubectl, minimal


def no_pods(namespace: str) -> dict[str, Any]:
    """A quota under which no pod can be created."""
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none", "namespace": namespace},
        "spec": {"hard": {"pods": "0"}},
    }


def run_of(namespace: str) -> dict[str, Any]:
    """A resource that needs no image to be there: its pods are never made."""
    return minimal.resource(
        namespace,
        workers={"gpusPerNode": 0, "image": "registry.invalid/sid-trainer:1"},
        runPolicy={"ttlSecondsAfterFinished": 0},
    )


def change(namespace: str, **spec: Any) -> None:
    """Change parts of the spec."""
    patch = json.dumps({"spec": spec})
    kubectl.kubectl("-n", namespace, "patch", "sid", "run", "--type=merge", "-p", patch)


def whole(namespace: str) -> None:
    """Have the operator use every right: create, tell of trouble, re-create, fail, expire."""
    kubectl.apply(no_pods(namespace))
    kubectl.apply(run_of(namespace))
    kubectl.wait_until(
        "the quota is told",
        lambda: "exceeded quota" in kubectl.kubectl("describe", "sid", "run", "-n", namespace),
        seconds=90,
    )
    first = kubectl.get("job", "run", "-n", namespace)["metadata"]["uid"]
    change(namespace, workers={"image": "registry.invalid/sid-trainer:2"})
    kubectl.wait_until("the Job is replaced", lambda: _other_job(namespace, first), seconds=90)
    change(namespace, runPolicy={"activeDeadlineSeconds": 1})
    kubectl.wait_until("the resource has expired", lambda: not _there(namespace), seconds=90)


def _other_job(namespace: str, uid: str) -> bool:
    found = kubectl.get("jobs", "-n", namespace)["items"]
    return [job["metadata"]["uid"] != uid for job in found] == [True]


def _there(namespace: str) -> bool:
    return bool(kubectl.get("sid", "-n", namespace)["items"])
