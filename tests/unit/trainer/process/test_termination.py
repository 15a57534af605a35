"""The record that a pod leaves behind."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sid_trainer.contract import (
    MAX_RECORD_BYTES,
    CheckpointRef,
    Failure,
    FailureReason,
    ProgressReport,
    TerminationRecord,
)
from sid_trainer.process.termination import encoded, termination_log, write_record


def long_record(character: str, key_length: int = 300) -> TerminationRecord:
    now = datetime.now(UTC)
    return TerminationRecord(
        state="failed",
        failure=Failure(reason=FailureReason.UNKNOWN, message=character * 1024, rank=7),
        progress=ProgressReport(
            attempt=3,
            stage="training",
            iterations=10,
            time=now,
            metrics={f"metric{i:02d}" + "x" * 40: 0.123456789 for i in range(64)},
            checkpoint=CheckpointRef(uri="s3://b/" + "k" * key_length, iteration=5, time=now),
            samples_uri="s3://b/" + "s" * key_length,
            student_uri="s3://b/" + "t" * key_length,
        ),
    )


@pytest.mark.parametrize("character", ["x", "é", "\u20ac", "\x01", "😀"])
def test_records_always_fit_and_stay_readable(character: str) -> None:
    data = encoded(long_record(character))
    assert len(data) <= MAX_RECORD_BYTES
    record = TerminationRecord.model_validate_json(data)
    assert record.failure is not None
    assert record.failure.message.startswith(character)
    assert record.progress is not None
    assert record.progress.checkpoint is not None


def test_a_record_with_very_long_addresses_keeps_the_failure() -> None:
    data = encoded(long_record("x", key_length=1000))
    assert len(data) <= MAX_RECORD_BYTES
    record = TerminationRecord.model_validate_json(data)
    assert record.progress is None
    assert record.failure is not None
    assert record.failure.message == "x" * 1024


def test_a_record_is_written_in_place(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"x" * 4000)
    inode = log.stat().st_ino
    write_record(
        TerminationRecord(state="running"), termination_log({"SID_TERMINATION_LOG": str(log)})
    )
    assert json.loads(log.read_bytes()) == {"state": "running"}
    assert log.stat().st_ino == inode
