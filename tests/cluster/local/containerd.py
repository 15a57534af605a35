"""The container runtime: a containerd of our own, beside any other that the machine may run."""

from __future__ import annotations

from pathlib import Path

from .errors import ClusterError
from .settings import CONTAINERD_NAMESPACE, Paths
from .shell import run

CNI_PROGRAMS = "/usr/lib/cni"
_NAMELESS = "sha256:"


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
    return {name for name in _targets(paths) if not name.startswith(_NAMELESS)}


def _targets(paths: Paths) -> dict[str, str]:
    """Every name that containerd has for an image, with the digest of the image's manifest."""
    _, *lines = ctr(paths, "images", "list").splitlines()
    columns = [line.split() for line in lines]
    return {name: digest for name, _, digest, *_ in columns}


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
    """Forget an image; its layers go when nothing needs them any more.

    The Kubernetes plugin names each image a second time, by its hash, and that name would keep
    the layers.
    """
    if reference in images(paths):
        ctr(paths, "images", "remove", reference)
    targets = _targets(paths)
    named = {targets[name] for name in images(paths)}
    nameless = [name for name, digest in targets.items() if digest not in named]
    if nameless:
        ctr(paths, "images", "remove", "--sync", *nameless)


def remove_others(paths: Paths, reference: str) -> None:
    """Forget the other images of a reference's repository."""
    repository = reference.rpartition(":")[0]
    for other in images(paths) - {reference}:
        if other.rpartition(":")[0] == repository:
            remove_image(paths, other)
