"""The report: what was measured, in tables for docs and terminals."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tests.cluster.local.settings import KUBERNETES_VERSION
from tests.cluster.scale.audit import Request
from tests.cluster.scale.contender import Contender
from tests.cluster.scale.phases import Measured

PROGRESS = "siddistillations/status"


@dataclass
class Findings:
    """All that was measured of one contender.

    Attributes:
        paced: Resources created one after the other.
        burst: Resources created at once.
        memory: Resident bytes: empty, with all resources, and when the steady state ended.
        steady: Some resources run, nobody changes anything.
        restart: The processes were ended and started.
    """

    who: Contender
    paced: Measured = field(default_factory=Measured)
    burst: Measured = field(default_factory=Measured)
    memory: list[int] = field(default_factory=list)
    steady: Measured = field(default_factory=Measured)
    restart: Measured = field(default_factory=Measured)

    @property
    def resources(self) -> int:
        """How many resources there are."""
        return len(self.paced.delays) + len(self.burst.delays)


@dataclass(frozen=True)
class Setting:
    """How it was measured."""

    rate: float
    pods: int
    running: int
    steady_seconds: float
    restart_seconds: float
    progress_seconds: float = 5.0


def report(found: Sequence[Findings], setting: Setting) -> str:
    """The whole report, as Markdown."""
    head = ["", *(each.who.name for each in found)]
    rows = [[name, *(cell(each) for each in found)] for name, cell in _rows(setting)]
    parts = [_heading(found, setting), _table(head, rows)]
    parts += [_by_kind(each) for each in found]
    return "\n\n".join(parts) + "\n"


def _rows(setting: Setting) -> list[tuple[str, Callable[[Findings], str]]]:
    minutes = setting.steady_seconds / 60
    return [
        ("apply to Job, one after the other: p50, p95", lambda f: _delay(f.paced)),
        ("apply to Job, many at once: p50, p95", lambda f: _delay(f.burst)),
        ("API requests a resource (writes)", lambda f: _requests(f.paced)),
        ("CPU time a resource", lambda f: f"{1000 * f.paced.cpu / len(f.paced.delays):.0f} ms"),
        ("memory: empty, with all resources, at the end", lambda f: _memory(f.memory)),
        (
            f"steady, {setting.running} running: requests (writes) a minute",
            lambda f: (
                f"{len(f.steady.requests) / minutes:.0f} ({len(f.steady.writes()) / minutes:.0f})"
            ),
        ),
        (
            "… CPU time a minute",
            lambda f: f"{f.steady.cpu / minutes:.1f} s",
        ),
        ("… writes but of progress", lambda f: str(len(_not_progress(f.steady.writes())))),
        (
            "… most writes of a resource in a progress interval",
            lambda f: _most(f.steady, setting),
        ),
        (
            f"restart, {setting.restart_seconds:.0f} s: requests (writes but of progress)",
            lambda f: f"{len(f.restart.requests)} ({len(_not_progress(f.restart.writes()))})",
        ),
    ]


def _delay(measured: Measured) -> str:
    return f"{1000 * measured.delay(50):.0f} ms, {1000 * measured.delay(95):.0f} ms"


def _requests(measured: Measured) -> str:
    count = len(measured.delays)
    return f"{len(measured.requests) / count:.1f} ({len(measured.writes()) / count:.1f})"


def _memory(samples: Sequence[int]) -> str:
    return ", ".join(f"{sample / 2**20:.0f}" for sample in samples) + " MiB"


def _not_progress(requests: Sequence[Request]) -> list[Request]:
    return [each for each in requests if each.what != PROGRESS]


def _most(measured: Measured, setting: Setting) -> str:
    intervals = setting.steady_seconds / setting.progress_seconds
    counts: dict[str, int] = {}
    for each in measured.writes():
        if each.what == PROGRESS:
            counts[each.name] = counts.get(each.name, 0) + 1
    return f"{max(counts.values()) / intervals:.2f}" if counts else "none"


def _by_kind(found: Findings) -> str:
    count = len(found.paced.delays)
    rows = [
        [kind, f"{number / count:.2f}", *_elsewhere(found, kind)]
        for kind, number in found.paced.kinds().most_common()
    ]
    late = (found.steady.kinds() | found.restart.kinds()).keys() - found.paced.kinds().keys()
    rows += [[kind, "", *_elsewhere(found, kind)] for kind in sorted(late)]
    head = ["request", "a resource", "steady state", "restart"]
    return f"### Requests of {found.who.name}\n\n{_table(head, rows)}"


def _elsewhere(found: Findings, kind: str) -> list[str]:
    return [str(each.kinds().get(kind, "")) for each in (found.steady, found.restart)]


def _heading(found: Sequence[Findings], setting: Setting) -> str:
    first = found[0]
    return "\n".join(
        (
            "# The operator at scale",
            "",
            f"- Date: {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            f"- Machine: {_processor()}, {os.cpu_count()} CPUs, load {os.getloadavg()[1]:.1f}, "
            f"Python {platform.python_version()}",
            f"- API server: Kubernetes {KUBERNETES_VERSION}, with etcd and the Job controller on "
            "the same machine",
            *(f"- {each.who.name}: {each.who.versions}" for each in found),
            f"- {first.resources} resources of each, pods of a resource: {setting.pods}; "
            f"{len(first.paced.delays)} one after the other, {setting.rate:.0f} a second, and "
            f"{len(first.burst.delays)} at once",
        )
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, *rows]
    widths = [max(3, *(len(cell) for cell in column)) for column in zip(*lines, strict=True)]
    table = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |"
        for line in lines
    ]
    table.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(table)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
