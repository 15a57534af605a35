"""What the operator shows stands in the documents: its reasons, series and alerts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sid_operator import reasons
from sid_operator.metrics.runs import CONDITIONS, TRAINING_METRICS
from sid_trainer.contract import FailureReason
from tests.unit.operator.test_alerts import ALERTS, served

DOCS = Path(__file__).parents[3] / "docs"
METRICS = (DOCS / "metrics.md").read_text()
TROUBLESHOOTING = (DOCS / "troubleshooting.md").read_text()
SERIES = [
    f"{family.name}_total" if family.type == "counter" else family.name
    for family in served().collect()
]
REASONS = sorted(
    {
        value
        for name, value in vars(reasons).items()
        if name.isupper() and isinstance(value, str) and re.fullmatch(r"[A-Z][A-Za-z]+", value)
    }
    | {reason.value for reason in FailureReason}
)


@pytest.mark.parametrize("reason", REASONS)
def test_a_reason_is_explained(reason: str) -> None:
    assert f"`{reason}`" in TROUBLESHOOTING


@pytest.mark.parametrize(
    "name", [*SERIES, *CONDITIONS, *TRAINING_METRICS, *(alert["alert"] for alert in ALERTS)]
)
def test_a_metric_or_alert_is_explained(name: str) -> None:
    assert f"`{name}`" in METRICS


def test_no_alert_or_series_is_told_that_is_gone() -> None:
    told = set(re.findall(r"`(sid_\w+|SiD(?:Operator|Distillation)\w+)`", METRICS))
    assert told == {*SERIES, *(alert["alert"] for alert in ALERTS)}
