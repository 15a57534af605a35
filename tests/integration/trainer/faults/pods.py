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
from collections.abc import Mapping
from pathlib import Path

from sid_trainer.launch.processes import descendants

HERE = Path(__file__).parent
PERMANENT = range(64, 79)


class Pods:
    """All pods of one run.

    Args:
        folder: for logs and termination messages.
        config: the run's configuration file.
        nodes: number of pods.
        environ: variables of theirs, credentials among them.
    """

    def __init__(self, folder: Path, config: Path, nodes: int, environ: Mapping[str, str]) -> None:
        self._folder, self._config, self._environ = folder, config, environ
        self._nodes = nodes
        self._pods: dict[int, subprocess.Popen[bytes]] = {}
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
            self._pods[node] = self._start(node)
            return False

    def _start(self, node: int) -> subprocess.Popen[bytes]:
        self.starts += 1
        environ = {
            **os.environ,
            **self._environ,
            "JOB_COMPLETION_INDEX": str(node),
            "SID_TERMINATION_LOG": str(self._folder / f"termination-{node}-{self.starts}"),
            "OMP_NUM_THREADS": "1",
        }
        launcher = str(HERE.parent / "launcher" / "pod.py")
        with (self._folder / "pods.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, launcher, str(self._config), str(HERE / "worker.py"), "120"],
                env=environ,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill_rank(self, rank: int) -> bool:
        """SIGKILL a training process; whether there was one."""
        with self._lock:
            workers = {
                pid
                for pod in self._alive()
                for pid in descendants(pod.pid)
                if _variable(pid, "RANK") is not None
            }
            chosen = sorted(workers, key=lambda pid: _variable(pid, "RANK") or "")
            return bool(chosen) and _kill(chosen[rank % len(chosen)])

    def kill_pod(self, node: int) -> bool:
        """SIGKILL a pod's launcher and everything below it; whether it was there."""
        with self._lock:
            pods = self._alive()
            if not pods:
                return False
            self._destroy(pods[node % len(pods)])
            return True

    def evict_pod(self, node: int) -> bool:
        """SIGTERM a pod's launcher, as a node that is drained does; whether it was there."""
        with self._lock:
            pods = self._alive()
            if not pods:
                return False
            pods[node % len(pods)].terminate()
            return True

    def close(self) -> None:
        """Leave nothing behind."""
        with self._lock:
            for pod in self._alive():
                self._destroy(pod)

    def log(self) -> str:
        """The last of what the pods said."""
        text = (self._folder / "pods.log").read_text(errors="replace")
        return text[-8000:]

    def _alive(self) -> list[subprocess.Popen[bytes]]:
        return [pod for _, pod in sorted(self._pods.items()) if pod.poll() is None]

    def _destroy(self, pod: subprocess.Popen[bytes]) -> None:
        pod.send_signal(signal.SIGSTOP)  # it can neither reap nor start anything meanwhile
        while [_kill(pid) for pid in descendants(pod.pid) if not _is_zombie(pid)]:
            time.sleep(0.01)
        pod.kill()
        pod.wait()


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
