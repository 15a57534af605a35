"""The metrics of a student as report and model card name them, and which way each is better. Pure.

Rules this module keeps:

* One table holds every metric that :data:`sid_trainer.config.Metric` names.
* One that it does not hold, of another release's records maybe, goes by its own name, and more of
  it counts as better.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class MetricTitle:
    """What a metric is called, and which way it is better.

    Attributes:
        title: in tables and on tiles.
        full: title with what it is measured against.
        chart: title of the chart that it shares with those of its kind.
        lower_is_better: whether less of it is better.
        teachers: name of the teacher's own value, where one can stand beside the student's.
    """

    title: str
    full: str
    chart: str
    lower_is_better: bool = False
    teachers: str | None = None


METRICS: Mapping[str, MetricTitle] = {
    "fid": MetricTitle(
        "FID",
        "FID to the reference images",
        "Fréchet distance",
        lower_is_better=True,
        teachers="teacherFid",
    ),
    "fidTeacher": MetricTitle(
        "FID to the teacher",
        "FID to the teacher's samples",
        "Fréchet distance",
        lower_is_better=True,
    ),
    "clipScore": MetricTitle("CLIP score", "CLIP score", "CLIP score", teachers="teacherClipScore"),
    "preferenceScore": MetricTitle(
        "Preference score",
        "Preference score",
        "Preference score",
        teachers="teacherPreferenceScore",
    ),
}
TEACHERS: Mapping[str, str] = {
    name: each.teachers for name, each in METRICS.items() if each.teachers is not None
}
"""Names of the teacher's own metrics where they stand beside the student's."""


def lower_is_better(name: str) -> bool:
    """Whether less of a metric is better."""
    return name in METRICS and METRICS[name].lower_is_better


def explained(name: str) -> str:
    """A metric's full title, and which way it is better."""
    return _directed(METRICS[name].full, name) if name in METRICS else name


def charts() -> dict[str, list[str]]:
    """By the title of each chart, the names of its curves."""
    found: dict[str, list[str]] = {}
    for name, each in METRICS.items():
        curves = found.setdefault(_directed(each.chart, name), [])
        curves += [name] if each.teachers is None else [name, each.teachers]
    return found


def _directed(title: str, name: str) -> str:
    return f"{title} ({'lower' if lower_is_better(name) else 'higher'} is better)"
