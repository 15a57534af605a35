"""The pods of a run, as launcher processes that are killed and replaced as a Job would do.

Rules this module keeps:

* Only processes that this module started, and what they started, are ever killed.
* A pod that ends with a permanent exit code ends the run; one that ends otherwise is replaced.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sid_trainer.launch.processes import descendants

HERE = Path(__file__).parent
ROOT = HERE.parents[3]
PERMANENT = range(64, 79)
ENVIRON = {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}


class Pod(Protocol):
    """A pod that was started."""

    pid: int

    def poll(self) -> int | None:
        """Its exit code, None while it lives."""


Starter = Callable[[Path, Path, int], Pod]
"""Starts a pod: its configuration, its log, and its node."""


class Nest:
    """Forks pods of one node from a process that has everything imported; a context manager.

    Args:
        teacher: pipeline directory.
        environ: variables of the pods, credentials among them.
    """

    def __init__(self, teacher: Path, environ: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.trainer.faults.nest", str(teacher)],
            cwd=ROOT,
            env={**os.environ, **environ, **ENVIRON},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._told: dict[tuple[str, int], int] = {}
        self._changed = threading.Condition()
        self._pods = 0
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Nest:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        with self._process:  # which closes its pipes
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._thread.join(60)

    def start(self, config: Path, log: Path, node: int) -> Pod:
        """Start a pod."""
        assert node == 0
        assert self._process.stdin is not None
        self._pods += 1
        self._process.stdin.write(f"{config} {log} {self._pods}\n")
        self._process.stdin.flush()
        return ForkedPod(self.wait_for("started", self._pods), self._pods, self.told)

    def told(self, what: str, number: int) -> int | None:
        """What the nest told of a pod."""
        with self._changed:
            return self._told.get((what, number))

    def wait_for(self, what: str, number: int) -> int:
        """The same, when it does."""
        with self._changed:
            assert self._changed.wait_for(
                lambda: (what, number) in self._told or self._process.poll() is not None, 300
            )
            assert (what, number) in self._told, f"the nest ended with {self._process.poll()}"
            return self._told[what, number]

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            what, _, rest = line.partition(" ")
            if what in ("started", "ended"):
                number, value = rest.split()
                with self._changed:
                    self._told[what, int(number)] = int(value)
                    self._changed.notify_all()
        self._process.wait()
        with self._changed:
            self._changed.notify_all()


@dataclass(frozen=True)
class ForkedPod:
    """A pod that a nest has forked."""

    pid: int
    number: int
    told: Callable[[str, int], int | None]

    def poll(self) -> int | None:
        return self.told("ended", self.number)


def launcher(environ: Mapping[str, str]) -> Starter:
    """Starts pods as the operator's Job does: the launcher, which starts torchrun."""
    group = {**os.environ, **environ, **ENVIRON, "SID_GANG": "gang"}

    def start(config: Path, log: Path, node: int) -> Pod:
        program = str(HERE.parent / "launcher" / "pod.py")
        with log.open("ab") as target:
            return subprocess.Popen(
                [sys.executable, program, str(config), str(HERE / "worker.py"), "120"],
                env={**group, "JOB_COMPLETION_INDEX": str(node)},
                stdout=target,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    return start


class Pods:
    """All pods of one run.

    Args:
        log: of all of them.
        config: the run's configuration file.
        nodes: number of pods.
        starter: starts one.
    """

    def __init__(self, log: Path, config: Path, nodes: int, starter: Starter) -> None:
        self._log, self._config, self._nodes, self._starter = log, config, nodes, starter
        self._pods: dict[int, Pod] = {}
        self._lock = threading.Lock()
        self.starts = 0
        self.codes: list[int] = []

    def run(self, seconds: float, most_starts: int) -> None:
        """Start the pods and replace them until each has ended well.

        Raises:
            AssertionError: when one ended for good, or too often, or all take too long.
        """
        deadline = time.monotonic() + seconds
        done: set[int] = set()
        while len(done) < self._nodes:
            assert time.monotonic() < deadline, f"not done in {seconds:.0f} s\n{self.log()}"
            for node in set(range(self._nodes)) - done:
                if self._ended_well(node, most_starts):
                    done.add(node)
            time.sleep(0.05)

    def _ended_well(self, node: int, most_starts: int) -> bool:
        """Whether a pod has; starts it where it has not been started or ended otherwise."""
        with self._lock:
            pod = self._pods.get(node)
            code = pod.poll() if pod else None
            if pod is not None and code is None:
                return False
            if code == 0:
                return True
            if code is not None:
                self.codes.append(code)
                assert code not in PERMANENT, f"a pod ended with {code}\n{self.log()}"
                assert self.starts < most_starts, f"pods ended with {self.codes}\n{self.log()}"
            self.starts += 1
            self._pods[node] = self._starter(self._config, self._log, node)
            return False

    def kill_rank(self, rank: int) -> bool:
        """SIGKILL a training process; whether there was one."""
        with self._lock:
            ranks = [pid for pod in self._alive() for pid in _ranks(pod)]
            return bool(ranks) and _kill(ranks[rank % len(ranks)])

    def kill_pod(self, node: int) -> bool:
        """SIGKILL a pod and everything below it; whether it was there."""
        with self._lock:
            pods = self._alive()
            if not pods:
                return False
            _destroy(pods[node % len(pods)])
            return True

    def evict_pod(self, node: int) -> bool:
        """SIGTERM a pod's first process, as a node that is drained does; whether it was there."""
        with self._lock:
            pods = self._alive()
            if not pods:
                return False
            os.kill(pods[node % len(pods)].pid, signal.SIGTERM)
            return True

    def close(self) -> None:
        """Leave nothing behind."""
        with self._lock:
            for pod in self._alive():
                _destroy(pod)

    def log(self) -> str:
        """The last of what the pods said."""
        return self._log.read_text(errors="replace")[-8000:]

    def _alive(self) -> list[Pod]:
        return [pod for _, pod in sorted(self._pods.items()) if pod.poll() is None]


def _ranks(pod: Pod) -> list[int]:
    """Pids of its training processes."""
    below = [pid for pid in sorted(descendants(pod.pid)) if not _is_zombie(pid)]
    if isinstance(pod, ForkedPod):
        return below
    return [pid for pid in below if _variable(pid, "RANK") is not None]


def _destroy(pod: Pod) -> None:
    os.kill(pod.pid, signal.SIGSTOP)  # it can neither reap nor start anything meanwhile
    while [_kill(pid) for pid in descendants(pod.pid) if not _is_zombie(pid)]:
        time.sleep(0.01)
    _kill(pod.pid)
    while pod.poll() is None:
        time.sleep(0.01)


def _kill(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False


def _is_zombie(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] in "ZX"


def _variable(pid: int, name: str) -> str | None:
    """A process's environment variable."""
    try:
        entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    start = f"{name}=".encode()
    return next((e.removeprefix(start).decode() for e in entries if e.startswith(start)), None)
