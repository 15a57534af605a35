"""Starting the cluster from nothing, in the order in which its parts need each other."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from . import cgroup, clients, containerd, dns, golang, minio, network, oci, pki
from .components import (
    audit_policy,
    containerd_command,
    dns_configuration,
    kubelet_configuration,
    proxy_configuration,
    table,
)
from .console import step
from .kubectl import Kubectl
from .settings import IMAGE_REGISTRY, MINIO_NAMESPACE, NODE_NAME, Paths
from .supervisor import START_SECONDS, Supervisor

RUNTIME = "containerd"


@dataclass(frozen=True)
class Programs:
    """Directories of what was built or fetched."""

    cluster: Path
    minio: Path
    clients: Path


def programs(paths: Paths) -> Programs:
    """Everything that is run, built or fetched where the cache lacks it."""
    return Programs(
        clients=clients.programs(paths.cache),
        cluster=_with_names(golang.binaries(paths.cache, golang.CLUSTER), paths),
        minio=golang.binaries(paths.cache, golang.MINIO),
    )


def _with_names(directory: Path, paths: Paths) -> Path:
    """Give the one binary the name of each component that it can be."""
    for component in table(paths, directory):
        program = Path(component.command[0])
        if not program.exists():
            program.symlink_to("kubernetes")
    return directory


def configurations(paths: Paths) -> dict[str, str]:
    """The components' configuration files by name."""
    pause = _pause_image()
    return {
        "audit-policy.json": json.dumps(audit_policy()),
        "kubelet.json": json.dumps(kubelet_configuration(paths)),
        "kube-proxy.json": json.dumps(proxy_configuration(paths)),
        "Corefile": dns_configuration(paths),
        "resolv.conf": "# Nothing outside of the cluster is resolved.\n",
        "containerd.toml": containerd.configuration(paths, pause, with_kubernetes=True),
        "containerd-sweep.toml": containerd.configuration(paths, pause, with_kubernetes=False),
    }


def minio_image() -> str:
    """The image of the object store."""
    return f"{IMAGE_REGISTRY}/minio:{golang.MINIO.key()}"


def _pause_image() -> str:
    return f"{IMAGE_REGISTRY}/pause:{golang.CLUSTER.key()}"


def start(paths: Paths, built: Programs) -> None:
    """Start everything; nothing of an earlier life may be left."""
    supervisor = Supervisor(paths)
    kubectl = Kubectl(built.clients / "kubectl", paths)
    with step("start the container runtime"):
        _prepare(paths)
        _start_runtime(paths, supervisor)
        _load_images(paths, built)
    store, api_server, *others = table(paths, built.cluster)
    with step("start etcd and the API server"):
        for component in (store, api_server):
            supervisor.start(component.name, component.command)
            supervisor.wait_for(component)
    with step("start the other components"):
        kubectl.apply(dns.manifests())
        for component in others:
            supervisor.start(component.name, component.command)
        for component in others:
            supervisor.wait_for(component)
    with step("start MinIO, once the node is ready"):
        _start_minio(kubectl)


def _prepare(paths: Paths) -> None:
    paths.state.mkdir(mode=0o700)
    paths.run.mkdir(mode=0o700)
    for directory in (paths.config, paths.logs, paths.pids):
        directory.mkdir()
    pki.create(paths.pki)
    for name, content in configurations(paths).items():
        (paths.config / name).write_text(content)
    network.write_cni_configuration(paths)
    network.create_bridge()
    cgroup.create()


def _start_runtime(paths: Paths, supervisor: Supervisor) -> None:
    """Start containerd, after another start of it that drops what an earlier life ran."""
    if paths.containerd_root.exists():
        _run_runtime(paths, supervisor, "containerd-sweep.toml")
        containerd.drop_containers(paths)
        supervisor.stop([RUNTIME])
    _run_runtime(paths, supervisor, "containerd.toml")


def _run_runtime(paths: Paths, supervisor: Supervisor, configuration: str) -> None:
    supervisor.start(RUNTIME, containerd_command(paths, configuration))
    supervisor.wait(RUNTIME, lambda: containerd.answers(paths))


def _load_images(paths: Paths, built: Programs) -> None:
    present = containerd.images(paths)
    for reference, program in (
        (_pause_image(), built.cluster / "pause"),
        (minio_image(), built.minio / "minio"),
    ):
        if reference not in present:
            name = f"/{program.name}"
            image = oci.ProgramImage(reference, files={name: program}, entrypoint=(name,))
            archive = paths.state / "image.tar"
            oci.write_archive(image, archive)
            containerd.load_image(paths, archive)
            archive.unlink()
            containerd.remove_others(paths, reference)


def _start_minio(kubectl: Kubectl) -> None:
    namespace, *rest = minio.manifests(minio_image())
    kubectl.apply([namespace])
    kubectl.apply([minio.new_credentials(), *rest])
    limit = f"--timeout={START_SECONDS:.0f}s"
    kubectl("wait", f"node/{NODE_NAME}", "--for=create", limit)
    kubectl("wait", f"node/{NODE_NAME}", "--for=condition=Ready", limit)
    kubectl("--namespace", MINIO_NAMESPACE, "rollout", "status", "deployment/minio", limit)
