"""The chart on a control plane: its roles and policies, and its service account's kubeconfig.

So the operator of the checkout runs with the very rights that the chart gives it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from tests.cluster import install, kubectl
from tests.cluster.control_plane.plane import ControlPlane

RELEASE = install.RELEASE


def apply(namespace: str, values: dict[str, Any]) -> None:
    """Apply the chart as a release in a namespace, but for the CRD and the Deployment."""
    values = {"crds": {"enabled": False}, **values}
    command = ("template", RELEASE, str(install.CHART), "--namespace", namespace, "-f", "-")
    text = kubectl.run("helm", *command, stdin=json.dumps(values))
    documents = [one for one in yaml.safe_load_all(text) if one and one["kind"] != "Deployment"]
    kubectl.apply(*documents)


def kubeconfig(plane: ControlPlane, namespace: str, account: str, target: Path) -> Path:
    """A kubeconfig with a token of a service account."""
    content = json.loads(plane.kubeconfig().read_text())
    token = kubectl.kubectl("create", "token", account, "-n", namespace).strip()
    content["users"][0]["user"] = {"token": token}
    target.touch(mode=0o600)
    target.write_text(json.dumps(content))
    return target
