"""Starts a control plane for the length of a block."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.control_plane.child import START_SECONDS, Child
from tests.cluster.control_plane.components import (
    AUDIT_POLICY,
    CONTROLLER_MANAGER,
    Ports,
    api_server,
    controller_manager,
    etcd,
)
from tests.cluster.local import golang, health, pki
from tests.cluster.local.components import Component
from tests.cluster.local.settings import default_paths
from tests.loopback import free_ports

PROGRAM = "kubernetes"


@dataclass(frozen=True)
class ControlPlane:
    """A running control plane.

    Attributes:
        root: Its directory.
        url: Where its API server is.
        children: Its processes by name.
    """

    root: Path
    url: str
    children: dict[str, Child]

    def kubeconfig(self, user: str = pki.ADMIN.file) -> Path:
        """The kubeconfig of one of its users."""
        return self.root / "pki" / f"{user}.kubeconfig"

    @property
    def authority(self) -> Path:
        """The certificate that its API server's is signed with."""
        return self.root / "pki" / f"{pki.AUTHORITY}.crt"

    @property
    def audit(self) -> Path:
        """Where the API server writes down each request, a JSON object a line."""
        return self.root / "audit.log"


@contextlib.contextmanager
def running(
    root: Path, *, users: Sequence[str] = (), controllers: Sequence[str] = ()
) -> Iterator[ControlPlane]:
    """A control plane.

    Args:
        root: A directory for everything that it writes.
        users: Names of administrators beside ``admin``: each has a kubeconfig, and is told apart
            in the audit log.
        controllers: Names of upstream's controllers that are to run.
    """
    ports = _free_ports()
    _prepare(root, ports, users)
    programs = _programs(root)
    parts = [etcd(root, programs, ports), api_server(root, programs, ports)]
    if controllers:
        parts.append(controller_manager(root, programs, ports, controllers))
    with contextlib.ExitStack() as stack:
        children = {part.name: stack.enter_context(_started(root, part)) for part in parts}
        yield ControlPlane(root, ports.api_url, children)


def _prepare(root: Path, ports: Ports, users: Sequence[str]) -> None:
    people = [pki.Identity(file=user, user=user, group="system:masters") for user in users]
    pki.create(
        root / "pki",
        servers=(pki.API_SERVER, pki.ETCD),
        clients=(pki.ADMIN, CONTROLLER_MANAGER, *people),
        url=ports.api_url,
    )
    (root / "audit-policy.json").write_text(json.dumps(AUDIT_POLICY))


def _programs(root: Path) -> Path:
    """A directory in which the one binary has the name of each component that it can be."""
    built = golang.binaries(default_paths().cache, golang.CLUSTER)
    directory = root / "bin"
    directory.mkdir()
    for name in ("etcd", "kube-apiserver", "kube-controller-manager"):
        (directory / name).symlink_to(built / PROGRAM)
    return directory


@contextlib.contextmanager
def _started(root: Path, part: Component) -> Iterator[Child]:
    child = Child(part.name, part.command, log=root / f"{part.name}.log")
    try:
        authority = root / "pki" / f"{pki.AUTHORITY}.crt"
        child.wait_until(
            f"{part.name} works", lambda: health.is_healthy(part.health, authority), START_SECONDS
        )
        yield child
    finally:
        child.end()


def _free_ports() -> Ports:
    return Ports(*free_ports(5))
