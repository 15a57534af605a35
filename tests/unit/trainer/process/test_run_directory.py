"""What ranks leave for their launcher."""

import os
from pathlib import Path

from sid_trainer.contract import (
    Failure,
    FailureReason,
)
from sid_trainer.process.run_directory import RunDirectory


def test_failures_come_back_in_the_order_of_writing(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    first = Failure(reason=FailureReason.PEER_LOST, message="a", rank=5)
    second = Failure(reason=FailureReason.UNKNOWN, message="b", rank=1)
    directory.write_failure(5, first)
    directory.write_failure(1, second)
    os.utime(tmp_path / "failure-00005.json", (1, 1))  # a file system's clock may be coarse
    assert directory.failures() == [first, second]
    directory.note_group()
    directory.clear_launch()
    assert directory.failures() == []
    assert not directory.group_formed()
