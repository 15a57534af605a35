"""The status as it is written to the API server, and read back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from pydantic import ValidationError

from sid_operator.api.conditions import Condition, ConditionType, Phase
from sid_operator.api.status import ProgressStatus, SiDDistillationStatus

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def written(status: SiDDistillationStatus) -> dict[str, Any]:
    return status.model_dump(by_alias=True, exclude_none=True, mode="json")


def test_status_as_json() -> None:
    status = SiDDistillationStatus(
        phase=Phase.RUNNING,
        observed_generation=2,
        start_time=MOMENT,
        progress=ProgressStatus(iteration=3, iterations=10, percent=30, last_update_time=MOMENT),
        metrics={"generatorLoss": -0.5},
        conditions=[
            Condition(
                type=ConditionType.RUNNING,
                status="True",
                reason="Training",
                message="Iterations are made.",
                last_transition_time=MOMENT,
                observed_generation=2,
            )
        ],
    )
    assert written(status) == {
        "phase": "Running",
        "observedGeneration": 2,
        "startTime": "2026-01-02T03:04:05Z",
        "restarts": 0,
        "progress": {
            "iteration": 3,
            "iterations": 10,
            "images": 0,
            "percent": 30,
            "lastUpdateTime": "2026-01-02T03:04:05Z",
        },
        "metrics": {"generatorLoss": -0.5},
        "conditions": [
            {
                "type": "Running",
                "status": "True",
                "reason": "Training",
                "message": "Iterations are made.",
                "lastTransitionTime": "2026-01-02T03:04:05Z",
                "observedGeneration": 2,
            }
        ],
    }


def test_times_are_written_in_utc() -> None:
    eastern = MOMENT.astimezone(timezone(timedelta(hours=5)))
    assert written(SiDDistillationStatus(start_time=eastern))["startTime"] == "2026-01-02T03:04:05Z"


def test_read_back_status_is_the_same() -> None:
    status = SiDDistillationStatus(phase=Phase.FAILED, start_time=MOMENT.replace(microsecond=0))
    assert SiDDistillationStatus.model_validate(written(status)) == status


def test_what_a_newer_operator_wrote_is_ignored() -> None:
    assert SiDDistillationStatus.model_validate({"future": 1}) == SiDDistillationStatus()


@pytest.mark.parametrize(
    "values",
    [
        {"metrics": {"loss": float("nan")}},
        {"metrics": {"a b": 1.0}},
        {"metrics": {f"m{i}": 1.0 for i in range(65)}},
        {"progress": {"percent": 101}},
        {"startTime": "2026-01-02T03:04:05"},
        {"phase": "Lost"},
    ],
)
def test_what_cannot_be_told_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SiDDistillationStatus.model_validate(values)


def test_finished_phases() -> None:
    assert {phase for phase in Phase if phase.finished} == {Phase.SUCCEEDED, Phase.FAILED}
