"""The cluster's processes by name: started, waited for, examined, stopped.

A process that does not come to work is named, with the last words of its log.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import health, pki, process, waiting
from .components import Component
from .errors import ClusterError
from .settings import Paths
from .shell import tail

START_SECONDS = 90.0


@dataclass(frozen=True)
class Health:
    """How one process is: its pid where it runs, and whether it works."""

    name: str
    pid: int | None
    works: bool


class Supervisor:
    """Starts and ends processes on behalf of one cluster."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def start(self, name: str, command: Sequence[str]) -> None:
        """Start a process; it is not waited for."""
        process.spawn(command, log=self._log(name), record=self._record(name))

    def wait(self, name: str, works: Callable[[], bool]) -> None:
        """Wait until a process works; it must not end meanwhile."""

        def alive_and_works() -> bool:
            if self._alive(name) is None:
                raise ClusterError(f"{name} ended; its log ends:\n{self._last_words(name)}")
            return works()

        waiting.until(
            alive_and_works,
            what=f"{name} works",
            seconds=START_SECONDS,
            explain=lambda: f"its log ends:\n{self._last_words(name)}",
        )

    def wait_for(self, component: Component) -> None:
        """Wait until a component says that it is healthy."""
        self.wait(component.name, lambda: self.is_healthy(component))

    def is_healthy(self, component: Component) -> bool:
        """Whether a component says so."""
        return health.is_healthy(component.health, self._paths.pki / f"{pki.AUTHORITY}.crt")

    def examine(self, name: str, works: Callable[[], bool]) -> Health:
        """How a process is; one that does not run is not asked."""
        alive = self._alive(name)
        if alive is None:
            return Health(name, pid=None, works=False)
        return Health(name, pid=alive.pid, works=works())

    def stop(self, names: Sequence[str]) -> None:
        """End those of some processes that run."""
        process.stop([alive for name in names if (alive := self._alive(name)) is not None])

    def _alive(self, name: str) -> process.ProcessRecord | None:
        record = process.recorded(self._record(name))
        return record if record is not None and record.is_alive() else None

    def _record(self, name: str) -> Path:
        return self._paths.pids / f"{name}.json"

    def _log(self, name: str) -> Path:
        return self._paths.logs / f"{name}.log"

    def _last_words(self, name: str) -> str:
        return tail(self._log(name).read_text(errors="replace"))
