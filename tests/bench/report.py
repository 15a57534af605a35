"""What a part of the benchmark found, and how it is written down."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("torch", "diffusers", "transformers", "deepspeed", "numpy")


@dataclass(frozen=True)
class Section:
    """A table with words around it.

    Attributes:
        title: heading.
        lead: what was measured, and how.
        columns: heads of the table.
        rows: its cells.
        notes: how to read it.
    """

    title: str
    lead: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = field(default_factory=tuple)

    def markdown(self) -> str:
        """The section as Markdown, its table's columns aligned for terminals, too."""
        lines = [self.columns, *self.rows]
        widths = [max(3, *(len(cell) for cell in column)) for column in zip(*lines, strict=True)]
        table = [_row(line, widths) for line in lines]
        table.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
        parts = [f"## {self.title}", self.lead, "\n".join(table), *self.notes]
        return "\n\n".join(parts)

    def data(self) -> dict[str, Any]:
        """The section as JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Spread:
    """A ratio over repetitions.

    Attributes:
        ratios: one of each repetition.
    """

    ratios: Sequence[float]

    def __str__(self) -> str:
        low, median, high = self.quartiles
        return f"{median:.2f} ({low:.2f} to {high:.2f})"

    @property
    def quartiles(self) -> tuple[float, float, float]:
        """Lower quartile, median and upper quartile."""
        low, median, high = statistics.quantiles(self.ratios, n=4)
        return low, median, high


def heading(device: str) -> str:
    """Machine and versions."""
    processor = torch.cuda.get_device_name() if device == "cuda" else _processor()
    found = ", ".join(f"{name} {_version(name)}" for name in PACKAGES)
    return "\n".join(
        (
            "# Work per iteration",
            "",
            f"- Date: {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            f"- Machine: {processor}, {os.cpu_count()} CPUs, {platform.system()} "
            f"{platform.machine()}, Python {platform.python_version()}",
            f"- Versions: {found}",
            "- Every figure is a count of operations, or a ratio of two things measured in turn "
            "in one run: median (and quartiles) over repetitions.",
        )
    )


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return "| " + " | ".join(padded) + " |"


def _processor() -> str:
    facts = Path("/proc/cpuinfo")
    if facts.is_file():
        for line in facts.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
