"""The metrics of all attempts of a run as curves over iterations. Reading is the only I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from sid_trainer.storage import Storage

_PART = re.compile(r"metrics/(attempt-\d{4,})/part-\d+\.jsonl")
Line = Mapping[str, float | str]


@dataclass(frozen=True)
class Curve:
    """A metric over iterations, in their order."""

    name: str
    points: Sequence[tuple[float, float]]


def read_history(storage: Storage) -> list[list[Line]]:
    """The lines of each attempt, the first attempt first."""
    keys = [found.key for found in storage.list("metrics/") if _PART.fullmatch(found.key)]
    attempts = groupby(sorted(keys), key=_attempt)
    return [
        [json.loads(line) for key in parts for line in storage.get_bytes(key).splitlines()]
        for _, parts in attempts
    ]


def joined(attempts: Iterable[Sequence[Line]]) -> list[Line]:
    """Lines of what became of the run: an attempt replaces what it computed anew."""
    lines: list[Line] = []
    for attempt in attempts:
        if attempt:
            start = min(_iteration(line) for line in attempt)
            lines = [line for line in lines if _iteration(line) < start] + list(attempt)
    return lines


def curve(lines: Iterable[Line], name: str) -> Curve:
    """The curve of a metric; a line without it has no point."""
    points = [(_iteration(line), float(line[name])) for line in lines if name in line]
    return Curve(name, sorted(points))


def _attempt(key: str) -> str:
    match = _PART.fullmatch(key)
    return match[1] if match else ""


def _iteration(line: Line) -> float:
    return float(line["iteration"])
