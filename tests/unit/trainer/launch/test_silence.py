"""Whose sign of life is missed: with real processes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sid_trainer.launch.silence import silent_workers
from sid_trainer.process.run_directory import Pulse, RunDirectory


@pytest.fixture
def worker() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


def test_a_worker_that_was_ended_is_not_missed(
    tmp_path: Path, worker: subprocess.Popen[bytes]
) -> None:
    directory = RunDirectory(tmp_path)
    pulse = Pulse(rank=3, pid=worker.pid, time=100.0, bound=20.0)
    directory.write_pulse(pulse)
    assert silent_workers(directory, now=119.0) == []
    assert silent_workers(directory, now=121.0) == [pulse]
    worker.kill()
    worker.wait()
    assert silent_workers(directory, now=121.0) == []
