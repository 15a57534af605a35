"""Talking to the cluster as its administrator, through kubectl."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from .settings import Paths
from .shell import run


class Kubectl:
    """kubectl with the administrator's kubeconfig."""

    def __init__(self, program: Path, paths: Paths) -> None:
        self._command: tuple[str | Path, ...] = (program, "--kubeconfig", paths.admin_kubeconfig)

    def __call__(self, *arguments: str) -> str:
        """Run kubectl and return what it prints."""
        return run([*self._command, *arguments])

    def apply(self, manifests: Iterable[Mapping[str, object]]) -> None:
        """Apply objects server-side. They go through a pipe: an argument is seen by everyone."""
        content = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        command = [*self._command, "apply", "--server-side", "--filename", "-"]
        run(command, text=json.dumps(content))
