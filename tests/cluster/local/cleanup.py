"""Leaving nothing behind, after an orderly stop and after an unclean death alike.

All that the cluster leaves on a machine bears its mark: pods' processes are in its control group,
shims name its socket, mounts lie below its directories, addresses are on its bridge, and rules
are in kube-proxy's chains. So the same sweep serves `down`, and `up` on a machine where all
processes were killed.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from . import cgroup, network, process
from .settings import Paths
from .shell import run


def sweep(paths: Paths) -> None:
    """Remove what is left of a cluster, whose own components have ended."""
    process.kill(shims(paths))
    cgroup.kill_members()
    unmount(paths)
    network.remove_bridge()
    cgroup.remove()
    remove_rules()
    for directory in (paths.run, paths.state):
        if directory.exists():
            shutil.rmtree(directory)


def shims(paths: Paths) -> list[process.ProcessRecord]:
    """The runtime's helper processes, known by our socket in their command line."""
    wanted = str(paths.containerd_socket)
    found = []
    for directory in Path("/proc").iterdir():
        words = _command_line(directory) if directory.name.isdigit() else []
        if words and "containerd-shim" in words[0] and wanted in words:
            pid = int(directory.name)
            if process.start_tick(pid) is not None:
                found.append(process.ProcessRecord.of(pid))
    return found


def _command_line(directory: Path) -> list[str]:
    try:
        return (directory / "cmdline").read_text().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


def unmount(paths: Paths) -> None:
    """Unmount everything below our directories, innermost first."""
    for point in reversed(mount_points(Path("/proc/self/mountinfo").read_text(), paths)):
        run(["umount", "--lazy", point])


def mount_points(mount_info: str, paths: Paths) -> list[str]:
    """The mount points of the kernel's table that lie below our directories."""
    ours = [f"{directory}/" for directory in (paths.run, paths.state, paths.containerd_root)]
    points = [line.split()[4] for line in mount_info.splitlines()]
    return [point for point in points if any(point.startswith(prefix) for prefix in ours)]


def remove_rules() -> None:
    """Remove kube-proxy's chains, and the jumps into them, from the packet filter.

    Rules of others stay: what is read back is everything that names no chain of Kubernetes.
    """
    for program in ("iptables", "ip6tables"):
        saved = run([f"{program}-save"])
        if ":KUBE-" in saved:
            run([f"{program}-restore"], text=without_kubernetes(saved))


def without_kubernetes(saved: str) -> str:
    """A saved rule set less all chains and rules of Kubernetes."""
    kept = [line for line in saved.splitlines() if "KUBE-" not in line]
    return "\n".join(kept) + "\n"
