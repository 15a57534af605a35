"""The container runtime: a containerd of our own, beside any other that the machine may run."""

from __future__ import annotations

from pathlib import Path

from .errors import ClusterError
from .settings import CONTAINERD_NAMESPACE, Paths
from .shell import run

CNI_PROGRAMS = "/usr/lib/cni"


def configuration(paths: Paths, pause_image: str, *, with_kubernetes: bool) -> str:
    """The configuration of containerd.

    Without Kubernetes it holds images and containers and nothing else: so it is started for a
    moment to drop the containers that an earlier life of the cluster left in its database.
    """
    disabled = "" if with_kubernetes else '"io.containerd.grpc.v1.cri"'
    return f"""\
version = 2
root = "{paths.containerd_root}"
state = "{paths.run}/containerd"
disabled_plugins = [{disabled}]
oom_score = 0

[grpc]
  address = "{paths.containerd_socket}"

[plugins."io.containerd.internal.v1.opt"]
  path = "{paths.containerd_root}/opt"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause_image}"
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  # A process without CAP_SYS_RESOURCE may not lower its OOM score, and every pod asks for that.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PROGRAMS}"
    conf_dir = "{paths.config}/cni"

  [plugins."io.containerd.grpc.v1.cri".containerd]
    discard_unpacked_layers = false

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"

      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        Root = "{paths.run}/runc"
"""


def ctr(paths: Paths, *arguments: str | Path) -> str:
    """Run containerd's own client in the namespace of Kubernetes."""
    command = ["ctr", "--address", str(paths.containerd_socket)]
    return run([*command, "--namespace", CONTAINERD_NAMESPACE, *map(str, arguments)])


def images(paths: Paths) -> set[str]:
    """The references of the images that pods may use."""
    return set(ctr(paths, "images", "list", "--quiet").split())


def load_image(paths: Paths, archive: Path) -> None:
    """Import an OCI archive, which names its image itself."""
    ctr(paths, "images", "import", "--all-platforms", archive)


def drop_containers(paths: Paths) -> None:
    """Forget every container, and with it its writable layer."""
    containers = ctr(paths, "containers", "list", "--quiet").split()
    if containers:
        ctr(paths, "containers", "remove", *containers)


def answers(paths: Paths) -> bool:
    """Whether the runtime serves requests."""
    try:
        ctr(paths, "namespaces", "list", "--quiet")
    except ClusterError:
        return False
    return True


def remove_image(paths: Paths, reference: str) -> None:
    """Forget an image; its layers go when nothing needs them any more."""
    if reference in images(paths):
        ctr(paths, "images", "remove", "--sync", reference)
