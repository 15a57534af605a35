"""What all attempts measured, as one."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from sid_trainer.contract import ProgressReport
from sid_trainer.report.history import curve, joined, read_history
from sid_trainer.storage import FileStorage
from sid_trainer.telling.metrics_stream import MetricsStream


def test_an_attempt_replaces_what_it_computed_anew(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path)
    for attempt, iterations in ((1, (1, 2, 3, 4)), (2, (3, 4, 5))):
        stream = MetricsStream(storage, attempt)
        for iteration in iterations:
            metrics = {"generatorLoss": float(10 * attempt + iteration)}
            report = ProgressReport(
                attempt=attempt,
                stage="training",
                iteration=iteration,
                iterations=9,
                time=datetime.now(UTC),
                metrics=metrics,
            )
            stream.add(report)
        stream.add(report, {"fid": float(attempt)})
        stream.flush()
    lines = joined(read_history(storage))
    assert curve(lines, "generatorLoss").points == [(1, 11), (2, 12), (3, 23), (4, 24), (5, 25)]
    assert curve(lines, "fid").points == [(5, 2)]
