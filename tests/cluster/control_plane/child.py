"""A process that lives no longer than the block that started it, nor than this process."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.cluster.local import waiting
from tests.cluster.local.errors import ClusterError
from tests.cluster.local.shell import tail

START_SECONDS = 90.0
STOP_SECONDS = 15.0
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Child:
    """One process with its log.

    Args:
        name: Names it in messages.
        command: The program and its arguments.
        log: Where its output is appended.
        env: Variables on top of this process's own.
    """

    def __init__(
        self, name: str, command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self._log = log
        # The kernel ends it when this process dies by whatever cause.
        words = ["setpriv", "--pdeathsig", "KILL", *command]
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._process.poll()

    def told(self) -> str:
        """Its log."""
        return self._log.read_text(errors="replace")

    def wait_until(self, what: str, works: Callable[[], bool], seconds: float) -> None:
        """Wait for a condition, as long as the process lives."""

        def alive_and_works() -> bool:
            if self.code is not None:
                raise ClusterError(f"{self.name} exited {self.code}; its log ends:\n{self._end()}")
            return works()

        waiting.until(alive_and_works, what=what, seconds=seconds, explain=self._end)

    def end(self) -> int:
        """End it; gives its exit code."""
        self._process.terminate()
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def cpu_seconds(self) -> float:
        """CPU time that it used so far, in user and kernel mode."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def memory(self) -> int:
        """Bytes that are resident."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * _PAGE

    def _end(self) -> str:
        return f"its log ends:\n{tail(self.told())}"
