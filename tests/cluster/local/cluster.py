"""The life of the cluster: started from nothing, found running, or ended.

It is always started from nothing: what an earlier life left behind is swept away first, so it
makes no difference how that one ended. Images and built programs are kept. Whoever changes the
cluster holds a lock, for several checkouts share it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from . import apt, cache, cleanup, clients, start
from .components import table
from .console import say, step
from .errors import ClusterError
from .settings import Paths
from .supervisor import Health, Supervisor


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
        programs = start.programs(paths)
        if _is_current(paths, programs):
            say("  ✓ the cluster is running")
        else:
            _stop(paths)
            start.start(paths, programs)
            _mark(paths).write_text(_fingerprint(paths, programs))
        _publish(paths, programs)


def down(paths: Paths) -> None:
    """End the cluster and remove what it left on the machine; images and programs stay."""
    with locked(paths), step("stop the cluster"):
        _stop(paths)


def examine(paths: Paths) -> list[Health]:
    """How every component is, the container runtime included."""
    supervisor = Supervisor(paths)
    found = [supervisor.examine(start.RUNTIME, paths.containerd_socket.is_socket)]
    for component in table(paths, Path()):
        works = partial(supervisor.is_healthy, component)
        found.append(supervisor.examine(component.name, works))
    return found


def _is_current(paths: Paths, programs: start.Programs) -> bool:
    if not _mark(paths).exists():
        return False
    if _mark(paths).read_text() != _fingerprint(paths, programs):
        say("  the running cluster was started from other versions: it is replaced")
        return False
    broken = [component.name for component in examine(paths) if not component.works]
    if broken:
        say(f"  the cluster is not whole ({', '.join(broken)}): it is started anew")
    return not broken


def _mark(paths: Paths) -> Path:
    """Written when the start was complete, with what the cluster was started from."""
    return paths.state / "fingerprint"


def _fingerprint(paths: Paths, programs: start.Programs) -> str:
    configurations = start.configurations(paths).values()
    commands = str(table(paths, programs.cluster))
    return cache.digest([commands, *configurations, start.minio_image()])


def _stop(paths: Paths) -> None:
    supervisor = Supervisor(paths)
    supervisor.stop([component.name for component in table(paths, Path())])
    supervisor.stop([start.RUNTIME])
    cleanup.sweep(paths)


def _publish(paths: Paths, programs: start.Programs) -> None:
    programs_dir = paths.dev / "bin"
    programs_dir.mkdir(parents=True, exist_ok=True)
    kubeconfig = paths.dev / "kubeconfig"
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text(paths.admin_kubeconfig.read_text())
    for name in clients.PROGRAMS:
        link = programs_dir / name
        link.unlink(missing_ok=True)
        link.symlink_to(programs.clients / name)
