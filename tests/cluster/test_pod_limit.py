"""``runPolicy.backoffLimit`` before the real Job controller, which counts all pods together.

There is no kubelet: the test says how a pod ended.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sid_operator.api.names import LABEL_INDEX, TRAINER_CONTAINER
from tests.cluster import kubectl, minimal
from tests.cluster.control_plane.operator import complaints, operating
from tests.cluster.control_plane.plane import ControlPlane

pytestmark = pytest.mark.cluster


def test_a_run_ends_when_one_pod_has_failed_too_often(
    namespace: str, plane: ControlPlane, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with operating(plane, log, "--namespace", namespace, "--lease-namespace", namespace):
        workers = {"nodes": 2, "gpusPerNode": 0}
        kubectl.apply(minimal.resource(namespace, workers=workers, runPolicy={"backoffLimit": 1}))
        first = kubectl.wait_until("the pod", lambda: pending(namespace, 1), seconds=180)
        fail(namespace, first)
        second = kubectl.wait_until("its successor", lambda: pending(namespace, 1), seconds=180)
        assert kubectl.condition(resource(namespace), "Failed") is None

        fail(namespace, second)
        kubectl.wait_until(
            "the end", lambda: kubectl.is_true(resource(namespace), "Failed"), seconds=60
        )
    assert complaints(log) == []
    failed = kubectl.condition(resource(namespace), "Failed")
    assert failed is not None
    assert failed["reason"] == "BackoffLimitExceeded"
    assert "A pod failed more often than runPolicy.backoffLimit (1) allows" in failed["message"]


def resource(namespace: str) -> dict[str, Any]:
    """As the API server holds it."""
    return kubectl.get("sid", "run", "-n", namespace)


def pending(namespace: str, index: int) -> str:
    """The pod of an index that has not ended; "" where there is none."""
    pods = kubectl.get("pods", "-n", namespace, "-l", f"{LABEL_INDEX}={index}")["items"]
    names = [one["metadata"]["name"] for one in pods if one["status"]["phase"] == "Pending"]
    return names[0] if names else ""


def fail(namespace: str, pod: str) -> None:
    """Say that its container ended with exit code 1."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    ended = {"exitCode": 1, "reason": "Error", "startedAt": now, "finishedAt": now}
    container = {
        "name": TRAINER_CONTAINER,
        "image": "registry.invalid/trainer:1",
        "imageID": "",
        "ready": False,
        "restartCount": 0,
        "state": {"terminated": ended},
    }
    patch = json.dumps({"status": {"phase": "Failed", "containerStatuses": [container]}})
    target = ("pod", pod, "-n", namespace)
    kubectl.kubectl("patch", *target, "--subresource=status", "--type=merge", "-p", patch)
