"""The process side of the launcher: start, wait, signal, reap. Linux only.

Rules this module keeps:

* The launcher handles SIGTERM, SIGINT and SIGCHLD by waiting for them, not in handlers: they are
  blocked for its lifetime, and the agent starts with them unblocked.
* It is the reaper of everything below it (PID 1 is one anyway): a worker that outlives its agent
  becomes its child, is killed and reaped, and leaves no orphan and no zombie.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGCHLD})
_STOP = frozenset({signal.SIGTERM, signal.SIGINT})
_PR_SET_CHILD_SUBREAPER = 36
REAP_SECONDS = 10.0
"""Seconds that killed processes get to be gone: they may hold much memory."""
LAST_SECONDS = 2.0
"""The same where the pod is to end: its grace period is all but over."""
_LOOK_SECONDS = 5.0


class Terminated(Exception):  # noqa: N818 - it is no error
    """The pod is told to end."""


def take_charge() -> None:
    """Become the reaper and block the signals that are waited for."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "cannot become the reaper of child processes")
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


def start(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Start a program with unblocked signals in a session of its own; return its pid."""
    return os.posix_spawn(arguments[0], list(arguments), dict(environ), setsigmask=[], setsid=True)


def pause(seconds: float) -> None:
    """Wait, but not past a request to end.

    Raises:
        Terminated: when the pod is told to end.
    """
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        received = signal.sigtimedwait(_SIGNALS, left)
        if received is not None and received.si_signo in _STOP:
            raise Terminated
        reap()


def wait_for(
    pid: int,
    grace: float,
    ask: Callable[[], float] = lambda: 0.0,
    hopeless: Callable[[], bool] = lambda: False,
) -> int:
    """Wait until a child has ended; return its exit code, negative for a signal.

    On SIGTERM or SIGINT the child is asked to end and, if it has not after as many seconds as
    ``ask`` returns, gets SIGTERM and ``grace`` seconds; then everything below this process is
    killed.

    Args:
        pid: the child.
        grace: seconds between SIGTERM and SIGKILL.
        ask: asks the child to end by itself; returns the seconds that it gets for that.
        hopeless: asked every few seconds; where it is so, everything below this process is killed.

    Raises:
        Terminated: when the pod was told to end, after the child has.
    """
    escalation: _Escalation | None = None
    while True:
        ended = reap()
        if pid in ended:
            if escalation is not None and ended[pid] != 0:
                raise Terminated
            return ended[pid]  # one that was done all the same has ended well
        if escalation is not None and escalation.due():
            escalation.take()
            if escalation.over:
                raise Terminated
            continue
        if escalation is None and hopeless():
            kill_descendants()
            return -signal.SIGKILL
        received = signal.sigtimedwait(_SIGNALS, escalation.wait() if escalation else _LOOK_SECONDS)
        if received is not None and received.si_signo in _STOP and escalation is None:
            escalation = _Escalation(pid, time.monotonic() + ask(), grace)


class _Escalation:
    """What follows where a child that is told to end does not: SIGTERM, then the end of all.

    Args:
        pid: the child.
        at: when it gets SIGTERM, by the monotonic clock.
        grace: seconds from then until everything below this process is killed.
    """

    def __init__(self, pid: int, at: float, grace: float) -> None:
        self._steps: list[tuple[float, Callable[[], None]]] = [
            (at, lambda: os.kill(pid, signal.SIGTERM)),
            (at + grace, lambda: kill_descendants(LAST_SECONDS)),
        ]

    @property
    def over(self) -> bool:
        """Whether nothing is left to be done."""
        return not self._steps

    def due(self) -> bool:
        """Whether the next step is."""
        return time.monotonic() >= self._steps[0][0]

    def wait(self) -> float:
        """Seconds until it is."""
        return max(0.0, self._steps[0][0] - time.monotonic())

    def take(self) -> None:
        """Take it."""
        self._steps.pop(0)[1]()


def reap() -> dict[int, int]:
    """Collect the children that have ended: pid to exit code."""
    ended: dict[int, int] = {}
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            ended[pid] = os.waitstatus_to_exitcode(status)
    return ended


def kill_descendants(seconds: float = REAP_SECONDS) -> None:
    """Kill every process below this one and reap them.

    Args:
        seconds: after which those that are still there are left: they are stuck in the kernel.
    """
    deadline = time.monotonic() + seconds
    while (alive := list(descendants(os.getpid()))) and time.monotonic() < deadline:
        for pid in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        signal.sigtimedwait({signal.SIGCHLD}, 0.2)
        reap()


def descendants(root: int) -> Iterator[int]:
    """Pids of all processes below ``root``, zombies included."""
    parents = dict(_parents())
    found = {root}
    grown = True
    while grown:
        below = {pid for pid, parent in parents.items() if parent in found} - found
        grown = bool(below)
        found |= below
    yield from found - {root}


def _parents() -> Iterator[tuple[int, int]]:
    """Each process and its parent, from /proc."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it has ended since
                stat = (entry / "stat").read_text()
                yield int(entry.name), int(stat.rpartition(")")[2].split()[1])
