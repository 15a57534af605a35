"""The life of the cluster: started from nothing, found running, or ended.

It is always started from nothing: what an earlier life left behind is swept away first, so it
makes no difference how that one ended. Images and built programs are kept. Whoever changes the
cluster holds a lock, for several checkouts share it.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from . import (
    apt,
    cache,
    cgroup,
    cleanup,
    clients,
    containerd,
    dns,
    golang,
    health,
    minio,
    network,
    oci,
    pki,
    process,
    waiting,
)
from .components import (
    Component,
    containerd_command,
    dns_configuration,
    kubelet_configuration,
    proxy_configuration,
    table,
)
from .console import say, step
from .errors import ClusterError
from .kubectl import Kubectl
from .settings import (
    IMAGE_REGISTRY,
    MINIO_NAMESPACE,
    NODE_NAME,
    Paths,
)
from .shell import tail

_START_SECONDS = 90.0
_RUNTIME = "containerd"


@dataclass(frozen=True)
class Programs:
    """Directories of what was built or fetched."""

    cluster: Path
    minio: Path
    clients: Path


@dataclass(frozen=True)
class Health:
    """How one component is."""

    name: str
    pid: int | None
    works: bool


@contextmanager
def locked(paths: Paths) -> Iterator[None]:
    """Be the only one who changes the cluster."""
    if os.geteuid() != 0:
        raise ClusterError("the local cluster needs root: it makes namespaces, mounts and rules")
    paths.cache.mkdir(parents=True, exist_ok=True)
    with paths.lock.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with step("wait for another command that changes the cluster"):
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def up(paths: Paths) -> None:
    """Have a working cluster and leave its kubeconfig in the checkout."""
    with locked(paths):
        apt.install(apt.CLUSTER_PACKAGES)
        programs = _programs(paths)
        if _is_current(paths, programs):
            say("  ✓ the cluster is running")
        else:
            _stop(paths)
            _start(paths, programs)
        _publish(paths, programs)


def down(paths: Paths) -> None:
    """End the cluster and remove what it left on the machine; images and programs stay."""
    with locked(paths), step("stop the cluster"):
        _stop(paths)


def examine(paths: Paths) -> list[Health]:
    """How every component is, the container runtime included."""
    authority = paths.pki / f"{pki.AUTHORITY}.crt"
    runtime = _health(paths, _RUNTIME, paths.containerd_socket.is_socket)
    return [
        runtime,
        *(
            _health(paths, each.name, partial(health.is_healthy, each.health, authority))
            for each in table(paths, Path())
        ),
    ]


def _health(paths: Paths, name: str, works: Callable[[], bool]) -> Health:
    record = process.recorded(_record(paths, name))
    if record is None or not record.is_alive():
        return Health(name, pid=None, works=False)
    return Health(name, pid=record.pid, works=works())


def _programs(paths: Paths) -> Programs:
    return Programs(
        clients=clients.programs(paths.cache),
        cluster=_with_links(golang.binaries(paths.cache, golang.CLUSTER)),
        minio=golang.binaries(paths.cache, golang.MINIO),
    )


def _with_links(directory: Path) -> Path:
    """Give the one binary the name of each component that it can be."""
    for name in ("etcd", *(component.name for component in table(_NOWHERE, Path()))):
        link = directory / name
        if not link.exists():
            link.symlink_to("kubernetes")
    return directory


_NOWHERE = Paths(cache=Path(), run=Path(), checkout=Path())


def _configurations(paths: Paths) -> dict[str, str]:
    pause = pause_image()
    return {
        "kubelet.json": json.dumps(kubelet_configuration(paths)),
        "kube-proxy.json": json.dumps(proxy_configuration(paths)),
        "Corefile": dns_configuration(paths),
        "resolv.conf": "# Nothing outside of the cluster is resolved.\n",
        "containerd.toml": containerd.configuration(paths, pause, with_kubernetes=True),
        "containerd-sweep.toml": containerd.configuration(paths, pause, with_kubernetes=False),
    }


def pause_image() -> str:
    """The image of a pod's sandbox."""
    return f"{IMAGE_REGISTRY}/pause:{golang.CLUSTER.key()}"


def minio_image() -> str:
    """The image of the object store."""
    return f"{IMAGE_REGISTRY}/minio:{golang.MINIO.key()}"


def _fingerprint(paths: Paths, programs: Programs) -> str:
    parts = [str(table(paths, programs.cluster)), *_configurations(paths).values(), minio_image()]
    return cache.digest(parts)


def _is_current(paths: Paths, programs: Programs) -> bool:
    mark = paths.state / "fingerprint"
    if not mark.exists():
        return False
    if mark.read_text() != _fingerprint(paths, programs):
        say("  the running cluster was started from other versions: it is replaced")
        return False
    broken = [component.name for component in examine(paths) if not component.works]
    if broken:
        say(f"  the cluster is not whole ({', '.join(broken)}): it is started anew")
    return not broken


def _stop(paths: Paths) -> None:
    for name in (*(component.name for component in reversed(table(paths, Path()))), _RUNTIME):
        record = process.recorded(_record(paths, name))
        if record is not None:
            process.stop(record, name=name)
    cleanup.sweep(paths)


def _start(paths: Paths, programs: Programs) -> None:
    with step("start the container runtime"):
        _prepare(paths)
        _start_runtime(paths)
        _load_images(paths, programs)
    kubectl = Kubectl(programs.clients / "kubectl", paths)
    first, api_server, *others = table(paths, programs.cluster)
    with step("start etcd and the API server"):
        _start_component(paths, first)
        _await_component(paths, first)
        _start_component(paths, api_server)
        _await_component(paths, api_server)
    with step("start the other components"):
        kubectl.apply(dns.manifests())
        for component in others:
            _start_component(paths, component)
        for component in others:
            _await_component(paths, component)
    with step("start MinIO, with the node ready for it"):
        namespace, *rest = minio.manifests(minio_image())
        kubectl.apply([namespace])
        kubectl.apply([minio.new_credentials(), *rest])
        _await_workload(kubectl)
    (paths.state / "fingerprint").write_text(_fingerprint(paths, programs))


def _prepare(paths: Paths) -> None:
    paths.state.mkdir(mode=0o700)
    paths.run.mkdir(mode=0o700)
    for directory in (paths.config, paths.logs, paths.pids):
        directory.mkdir()
    pki.create(paths.pki)
    for name, content in _configurations(paths).items():
        (paths.config / name).write_text(content)
    network.write_cni_configuration(paths)
    network.create_bridge()
    cgroup.create()


def _start_runtime(paths: Paths) -> None:
    if paths.containerd_root.exists():
        _run_containerd(paths, "containerd-sweep.toml")
        containerd.drop_containers(paths)
        record = process.recorded(_record(paths, _RUNTIME))
        if record is not None:
            process.stop(record, name=_RUNTIME)
    _run_containerd(paths, "containerd.toml")


def _run_containerd(paths: Paths, configuration: str) -> None:
    command = containerd_command(paths, configuration)
    log = paths.logs / f"{_RUNTIME}.log"
    process.spawn(command, log=log, record=_record(paths, _RUNTIME))
    _await(paths, _RUNTIME, lambda: containerd.answers(paths))


def _load_images(paths: Paths, programs: Programs) -> None:
    present = containerd.images(paths)
    for image in (
        oci.ProgramImage(
            reference=pause_image(),
            files={"/pause": programs.cluster / "pause"},
            entrypoint=("/pause",),
        ),
        oci.ProgramImage(
            reference=minio_image(),
            files={"/minio": programs.minio / "minio"},
            entrypoint=("/minio",),
        ),
    ):
        if image.reference not in present:
            archive = paths.state / "image.tar"
            oci.write_archive(image, archive)
            containerd.load_image(paths, archive)
            archive.unlink()


def _start_component(paths: Paths, component: Component) -> None:
    log = paths.logs / f"{component.name}.log"
    process.spawn(component.command, log=log, record=_record(paths, component.name))


def _await_component(paths: Paths, component: Component) -> None:
    authority = paths.pki / f"{pki.AUTHORITY}.crt"
    _await(paths, component.name, lambda: health.is_healthy(component.health, authority))


def _await(paths: Paths, name: str, works: Callable[[], bool]) -> None:
    def alive_and_works() -> bool:
        record = process.recorded(_record(paths, name))
        if record is None or not record.is_alive():
            raise ClusterError(f"{name} ended; the last lines of its log:\n{last_words()}")
        return works()

    def last_words() -> str:
        return tail((paths.logs / f"{name}.log").read_text(errors="replace"))

    waiting.until(alive_and_works, what=f"{name} works", seconds=_START_SECONDS, explain=last_words)


def _await_workload(kubectl: Kubectl) -> None:
    limit = f"--timeout={_START_SECONDS:.0f}s"
    kubectl("wait", f"node/{NODE_NAME}", "--for=create", limit)
    kubectl("wait", f"node/{NODE_NAME}", "--for=condition=Ready", limit)
    kubectl("--namespace", MINIO_NAMESPACE, "rollout", "status", "deployment/minio", limit)


def _record(paths: Paths, name: str) -> Path:
    return paths.pids / f"{name}.json"


def _publish(paths: Paths, programs: Programs) -> None:
    programs_dir = paths.dev / "bin"
    programs_dir.mkdir(parents=True, exist_ok=True)
    kubeconfig = paths.dev / "kubeconfig"
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text(paths.admin_kubeconfig.read_text())
    for name in clients.PROGRAMS:
        link = programs_dir / name
        link.unlink(missing_ok=True)
        link.symlink_to(programs.clients / name)
