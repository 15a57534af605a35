"""Processes that outlive the command that started them, and are ended by their own id alone.

A pid is only a number, and the kernel uses it again. A record therefore holds what tells the
process from a later one with the same number: the boot it belongs to and the tick it started at.
A record that no longer fits is a process that is gone, and nothing is sent to its number.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from . import waiting

_STOP_SECONDS = 5.0
_POLL_SECONDS = 0.05
_ENDED = ("", "Z", "X")
_KILL_SECONDS = 10.0


@dataclass(frozen=True)
class ProcessRecord:
    """What identifies one process for ever."""

    pid: int
    boot: str
    started: int

    @classmethod
    def of(cls, pid: int) -> ProcessRecord:
        """The record of a process that runs now, or that ended a moment ago."""
        _, started = _status(pid)
        return cls(pid=pid, boot=_boot(), started=started)

    def is_alive(self) -> bool:
        """Whether that very process still runs."""
        return self.boot == _boot() and start_tick(self.pid) == self.started

    def send(self, number: signal.Signals) -> None:
        """Send a signal to that very process, if it still runs."""
        if self.is_alive():
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return


def start_tick(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None where none runs (or a zombie)."""
    state, started = _status(pid)
    return None if state in _ENDED else started


def _status(pid: int) -> tuple[str, int]:
    try:
        content = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return "", 0
    state, *rest = content.rpartition(")")[2].split()
    return state, int(rest[18])


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def spawn(command: Sequence[str], *, log: Path, record: Path) -> None:
    """Start a process of its own session, its output in a log, and record it.

    It inherits no other file: a lock that its starter holds would be held as long as it lives.
    """
    _keep_files()
    words = ["env", "--chdir=/", *command]
    writing = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    files: list[tuple[int, int, str, int, int] | tuple[int, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), writing, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    pid = os.posix_spawnp(words[0], words, os.environ, file_actions=files, setsid=True)
    record.write_text(json.dumps(asdict(ProcessRecord.of(pid))))


def _keep_files() -> None:
    for number in [int(path.name) for path in Path("/proc/self/fd").iterdir()]:
        if number > 2:
            with contextlib.suppress(OSError):  # the listing's own, which is closed by now
                os.set_inheritable(number, False)


def recorded(record: Path) -> ProcessRecord | None:
    """The process of a record file; None where there is no such file."""
    try:
        return ProcessRecord(**json.loads(record.read_text()))
    except FileNotFoundError:
        return None


def stop(processes: Sequence[ProcessRecord]) -> None:
    """End processes: first asked, all at once, then, where they do not listen, killed."""
    for process in processes:
        process.send(signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    while any(process.is_alive() for process in processes) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    kill(processes)


def kill(processes: Sequence[ProcessRecord]) -> None:
    """Kill processes and wait until they are gone."""
    for process in processes:
        process.send(signal.SIGKILL)
    waiting.until(
        lambda: not any(process.is_alive() for process in processes),
        what="killed processes are gone",
        seconds=_KILL_SECONDS,
    )
