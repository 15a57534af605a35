"""What ranks leave for their launcher."""

import os
from pathlib import Path

import pytest

from sid_trainer.contract import (
    Failure,
    FailureReason,
)
from sid_trainer.process.run_directory import Pulse, RunDirectory


def test_failures_come_back_in_the_order_of_writing(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    first = Failure(reason=FailureReason.PEER_LOST, message="a", rank=5)
    second = Failure(reason=FailureReason.UNKNOWN, message="b", rank=1)
    directory.write_failure(5, first)
    directory.write_failure(1, second)
    os.utime(tmp_path / "failure-00005.json", (1, 1))  # a file system's clock may be coarse
    assert directory.failures() == [first, second]
    directory.begin(0)
    directory.clear_launch()
    assert directory.failures() == []
    assert not directory.group_formed()


def test_a_worker_that_begins_forgets_what_the_one_before_it_left(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    for rank in (2, 3):
        directory.write_failure(rank, Failure(reason=FailureReason.STALLED, message="a", rank=rank))
        directory.write_pulse(Pulse(rank=rank, pid=1, time=0.0, bound=1.0))
    directory.note_training()
    directory.begin(3)
    assert [failure.rank for failure in directory.failures()] == [2]
    assert [pulse.rank for pulse in directory.silent(now=2.0)] == [2]
    assert not directory.is_training()
    assert directory.group_formed()


def test_notes_that_cannot_be_written_end_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    directory = RunDirectory(tmp_path / "file")
    directory.begin(0)
    directory.note_training()
    assert not directory.request_stop()
    directory.end_training()
    assert not directory.is_training()
    assert caplog.text.count("cannot be written (Not a directory)") == 1


def test_a_full_disk_has_room_for_a_request_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Path) -> None:
        raise OSError(28, "No space left on device")

    directory = RunDirectory(tmp_path)
    directory.note_training()
    monkeypatch.setattr(Path, "touch", full)
    assert directory.request_stop()
    assert directory.stop_requested()


def test_after_training_nobody_looks_at_a_request_to_stop(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    directory.note_training()
    assert directory.is_training()
    for _ in ("rank 0", "rank 1"):
        directory.end_training()
    assert not directory.is_training()
