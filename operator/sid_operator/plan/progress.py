"""How far the run is: rank 0's reports merged into the status.

Rules this module keeps:

* A report never undoes a later one; reports are ordered by attempt, then time.
* Restarts are counted by the trainer in the run's own storage, so that nobody need have watched.
* A report comes from the user's image: numbers are bounded, times lie between then and now.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime

from sid_operator.api.render import storage_uri
from sid_operator.api.status import (
    CheckpointStatus,
    Location,
    ProgressStatus,
    SiDDistillationStatus,
)
from sid_operator.plan.objects import printable
from sid_operator.plan.pods import Pod
from sid_operator.resources.run import Run
from sid_trainer.contract import CheckpointRef, ProgressReport

LARGEST = 2**53
"""Largest whole number that every JSON reader keeps exactly."""
SIGNIFICANT_DIGITS = 5
"""Of metrics: more are noise, and unreadable in a column."""
HIGHEST_METRIC = 1e300
MAX_URI = 1024
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_METRIC_NAME = re.compile(r"[a-zA-Z0-9]+")


def merged(
    status: SiDDistillationStatus,
    live: ProgressReport | None,
    pods: Iterable[Pod],
    now: datetime,
) -> SiDDistillationStatus:
    """The status with the newest of all reports in it."""
    reports = [_last_words(pod) for pod in pods]
    candidates = [report for report in [live, *reports] if report is not None]
    if not candidates:
        return status
    newest = max(candidates, key=lambda report: _order(report, now))
    return _with(status, newest, now) if _order(newest, now) >= _held(status) else status


def is_news(status: SiDDistillationStatus, report: ProgressReport, now: datetime) -> bool:
    """Whether the report tells something newer than what the status holds."""
    if status.progress is None or _order(report, now) > _held(status):
        return True
    same_second = _order(report, now) == _held(status)
    return same_second and report.iteration != status.progress.iteration


def spoken(seconds: int) -> str:
    """A length of time in its two largest units, as kubectl tells ages.

    >>> spoken(45), spoken(754), spoken(11_520), spoken(360_000)
    ('45s', '12m34s', '3h12m', '4d4h')
    """
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86_400
    if days:
        return f"{days}d{hours % 24}h"
    if hours:
        return f"{hours}h{minutes % 60}m"
    return f"{minutes}m{seconds % 60}s" if minutes else f"{seconds}s"


def completed(status: SiDDistillationStatus, run: Run) -> SiDDistillationStatus:
    """The status of a run whose Job is complete, whether or not the last report was seen."""
    before = status.progress or ProgressStatus()
    total = before.iterations or run.spec.training.total_iterations
    progress = before.model_copy(
        update={
            "iteration": total,
            "iterations": total,
            "percent": 100,
            "eta_seconds": 0,
            "eta": spoken(0),
        }
    )
    folder = storage_uri(run.spec.checkpoint, run.namespace, run.name)
    student = status.student or Location(uri=f"{folder}/student")
    return status.model_copy(update={"progress": progress, "student": student})


def _last_words(pod: Pod) -> ProgressReport | None:
    if pod.terminated is None or pod.terminated.record is None:
        return None
    return pod.terminated.record.progress


def _order(report: ProgressReport, now: datetime) -> tuple[int, datetime]:
    return min(report.attempt, LARGEST), _moment(report.time, now)


def _held(status: SiDDistillationStatus) -> tuple[int, datetime]:
    seen = status.progress.last_update_time if status.progress is not None else None
    return status.restarts + 1, seen or EARLIEST


def _with(
    status: SiDDistillationStatus, report: ProgressReport, now: datetime
) -> SiDDistillationStatus:
    update = {
        "restarts": min(report.attempt, LARGEST) - 1,
        "progress": _progress(report, now),
        "metrics": _metrics(report) or status.metrics,
        "checkpoint": _checkpoint(report.checkpoint, now) or status.checkpoint,
        "student": _location(report.student_uri) or status.student,
        "samples": _location(report.samples_uri) or status.samples,
    }
    return status.model_copy(update=update)


def _progress(report: ProgressReport, now: datetime) -> ProgressStatus:
    iterations = min(report.iterations, LARGEST)
    iteration = min(report.iteration, iterations)
    eta = None if report.eta_seconds is None else min(report.eta_seconds, LARGEST)
    return ProgressStatus(
        iteration=iteration,
        iterations=iterations,
        images=min(report.images, LARGEST),
        percent=100 * iteration // iterations,
        images_per_second=round(max(0.0, report.images_per_second), 3),
        eta_seconds=eta,
        eta=None if eta is None else spoken(eta),
        last_update_time=_moment(report.time, now),
    )


def _metrics(report: ProgressReport) -> dict[str, float]:
    named = {k: v for k, v in report.metrics.items() if _METRIC_NAME.fullmatch(k)}
    return {name: _rounded(value) for name, value in named.items()}


def _rounded(value: float) -> float:
    bounded = max(-HIGHEST_METRIC, min(HIGHEST_METRIC, value))  # rounding up must not overflow
    return float(f"{bounded:.{SIGNIFICANT_DIGITS}g}")


def _checkpoint(ref: CheckpointRef | None, now: datetime) -> CheckpointStatus | None:
    if ref is None:
        return None
    iteration = min(ref.iteration, LARGEST)
    return CheckpointStatus(
        uri=printable(ref.uri, MAX_URI), iteration=iteration, time=_moment(ref.time, now)
    )


def _location(uri: str | None) -> Location | None:
    return Location(uri=printable(uri, MAX_URI)) if uri else None


def _moment(time: datetime, now: datetime) -> datetime:
    """A reported time to the second, in UTC, neither in the future nor absurdly long ago."""
    aware = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
    bounded = min(max(aware, EARLIEST), now)
    return bounded.astimezone(UTC).replace(microsecond=0)
