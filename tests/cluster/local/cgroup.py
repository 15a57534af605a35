"""The control group that all pods live in: how the cluster's processes are told from others'.

On cgroup v1 (and its hybrid with v2) the group exists once in each hierarchy, on v2 once.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

from . import process, waiting
from .settings import CGROUP

_ROOT = Path("/sys/fs/cgroup")
_REMOVAL_SECONDS = 10.0


def create() -> None:
    """Make the group in every hierarchy; the kubelet wants it to exist."""
    for group in _groups():
        group.mkdir(exist_ok=True)


def kill_members() -> None:
    """Kill every process of every pod."""
    waiting.until(_kill_round, what="pods' processes are gone", seconds=_REMOVAL_SECONDS)


def remove() -> None:
    """Remove the group with all groups inside it; its processes must be gone.

    A group stays busy for a moment after its last process has ended.
    """
    waiting.until(_removal_round, what=f"control group {CGROUP} is gone", seconds=_REMOVAL_SECONDS)


def _removal_round() -> bool:
    try:
        for group in _groups():
            for inner in [*_inside(group), *([group] if group.is_dir() else [])]:
                inner.rmdir()
    except OSError as error:
        if error.errno == errno.EBUSY:
            return False
        raise
    return True


def _kill_round() -> bool:
    found = {pid for group in _groups() for pid in _members(group)}
    alive = [process.ProcessRecord.of(pid) for pid in found if process.start_tick(pid) is not None]
    process.kill(alive)
    return not alive


def _members(group: Path) -> Iterator[int]:
    for inner in [*_inside(group), group]:
        try:
            yield from map(int, (inner / "cgroup.procs").read_text().split())
        except FileNotFoundError:
            continue


def _inside(group: Path) -> list[Path]:
    """The groups below one, deepest first."""
    below = [path for path in group.rglob("*") if path.is_dir()] if group.is_dir() else []
    return sorted(below, key=lambda path: len(path.parts), reverse=True)


def _groups() -> list[Path]:
    if (_ROOT / "cgroup.controllers").exists():
        return [_ROOT / CGROUP]
    return [path / CGROUP for path in _ROOT.iterdir() if path.is_dir() and not path.is_symlink()]
