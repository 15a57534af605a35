"""A node that nobody runs: what Kubernetes does with pods of a node that does not answer.

The Node object is real to everyone but a kubelet. The test plays the kubelet: it says that a pod
runs, and then says nothing more, as a machine does that lost its power. All that follows is the
control plane's own doing: after 50 s it doubts the node, and after the pods' toleration it deletes
them, which nobody carries out.

Rules this module keeps: nothing but pods that ask for it by its label is scheduled to it, and it
goes with the test.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tests.cluster import kubectl

TOLERATION_SECONDS = 1
"""How long pods stay on a node that does not answer; 300 where nothing is said."""


@dataclass(frozen=True)
class Ghost:
    """A Node without a machine; pods that ask for ``selector`` may run on it."""

    name: str

    @property
    def selector(self) -> dict[str, str]:
        """Labels of nodes that such pods may run on."""
        return {"sid-test.dev/pool": self.name}

    @property
    def workers(self) -> dict[str, Any]:
        """What a resource says in spec.workers so that its pods may run here."""
        impatient = {
            "key": "node.kubernetes.io/unreachable",
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": TOLERATION_SECONDS,
        }
        kept = {"key": "sid-test.dev/ghost", "operator": "Exists"}
        return {"nodeSelector": self.selector, "tolerations": [impatient, kept]}

    def create(self) -> None:
        """Make the node, ready to take pods."""
        kubectl.apply(
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": self.name, "labels": self.selector},
                "spec": {"taints": [{"key": "sid-test.dev/ghost", "effect": "NoSchedule"}]},
            }
        )
        room = {"cpu": "8", "memory": "16Gi", "pods": "10"}
        self._status(capacity=room, allocatable=room, conditions=[_ready("True")])

    def run(self, namespace: str, pod: str) -> None:
        """Say what a kubelet says of a pod that runs."""
        now = _now()
        container = {
            "name": "trainer",
            "image": "none",
            "imageID": "none",
            "ready": True,
            "restartCount": 0,
            "started": True,
            "state": {"running": {"startedAt": now}},
        }
        kinds = ("PodScheduled", "Initialized", "ContainersReady", "Ready")
        conditions = [{"type": k, "status": "True", "lastTransitionTime": now} for k in kinds]
        status = {
            "phase": "Running",
            "podIP": "10.203.0.250",
            "podIPs": [{"ip": "10.203.0.250"}],
            "conditions": conditions,
            "containerStatuses": [container],
        }
        patch = json.dumps({"status": status})
        target = ("-n", namespace, "pod", pod)
        kubectl.kubectl("patch", *target, "--subresource=status", "--type=merge", "-p", patch)

    def shut_down(self) -> None:
        """Do what an administrator does who knows that the machine is off."""
        taint = "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute"
        kubectl.kubectl("taint", "node", self.name, taint)

    def delete(self) -> None:
        """Remove the node."""
        kubectl.kubectl("delete", "node", self.name, "--ignore-not-found", "--wait=false")

    def _status(self, **status: Any) -> None:
        patch = json.dumps({"status": status})
        target = ("node", self.name, "--subresource=status", "--type=merge", "-p", patch)
        kubectl.kubectl("patch", *target)


@contextlib.contextmanager
def haunted(name: str) -> Iterator[Ghost]:
    """A ghost for as long as the context lasts."""
    ghost = Ghost(name)
    ghost.create()
    try:
        yield ghost
    finally:
        ghost.delete()


def _ready(status: str) -> dict[str, str]:
    told = {"reason": "Test", "message": "told by the test"}
    times = {"lastHeartbeatTime": _now(), "lastTransitionTime": _now()}
    return {"type": "Ready", "status": status} | told | times


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
