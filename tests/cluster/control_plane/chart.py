"""The chart on a control plane: its roles and policies, its service account, its settings.

So the operator of the checkout runs with the very rights and settings that the chart gives it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from sid_operator.settings import ENVIRONMENT_PREFIX
from tests.cluster import install, kubectl
from tests.cluster.control_plane.plane import ControlPlane

RELEASE = install.RELEASE
LISTENERS = ("liveness", "metrics")
"""Settings that are for a pod: there is room for one process on these ports."""


def apply(namespace: str, values: dict[str, Any]) -> tuple[str, ...]:
    """Apply the chart as a release in a namespace, but for the CRD and the Deployment.

    Returns:
        The settings in the Deployment, as flags of the operator.
    """
    values = {"crds": {"enabled": False}, **values}
    command = ("template", RELEASE, str(install.CHART), "--namespace", namespace, "-f", "-")
    text = kubectl.run("helm", *command, stdin=json.dumps(values))
    documents = [one for one in yaml.safe_load_all(text) if one]
    kubectl.apply(*(one for one in documents if one["kind"] != "Deployment"))
    (deployment,) = (one for one in documents if one["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    settings = {
        entry["name"].removeprefix(ENVIRONMENT_PREFIX).lower(): entry["value"]
        for entry in container["env"]
        if "value" in entry
    }
    return tuple(
        f"--{name.replace('_', '-')}={value}"
        for name, value in settings.items()
        if name not in LISTENERS
    )


def kubeconfig(plane: ControlPlane, namespace: str, account: str, target: Path) -> Path:
    """A kubeconfig with a token of a service account."""
    content = json.loads(plane.kubeconfig().read_text())
    token = kubectl.kubectl("create", "token", account, "-n", namespace).strip()
    content["users"][0]["user"] = {"token": token}
    target.touch(mode=0o600)
    target.write_text(json.dumps(content))
    return target
