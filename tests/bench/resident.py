"""What processes use: resident memory of this one and its peak, CPU time of any."""

from __future__ import annotations

import os
import resource
import threading
from pathlib import Path
from typing import Self


def resident() -> int:
    """Bytes now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * resource.getpagesize()


def begin_peak() -> None:
    """Let the peak begin anew."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak(process: int | str = "self") -> int:
    """Most bytes since then; 0 for a process that has ended."""
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    lines = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(lines[0].split()[1]) * 1024 if lines else 0


class Peak:
    """Watches another process, as what the kernel tells at its end is of its parent, too.

    Attributes:
        bytes: most that were seen while the block ran.
    """

    def __init__(self, process: int) -> None:
        self._process = process
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.bytes = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(0.02):
            self.bytes = max(self.bytes, peak(self._process))


def cpu_of(process: int) -> float:
    """CPU seconds of a process so far."""
    stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    user, system = stat.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
