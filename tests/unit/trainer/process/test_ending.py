"""How a process ends: with its code, whatever cannot be written. With real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sid_trainer.contract import ExitCode
from sid_trainer.process.ending import UNWRITTEN

FAILS = """
import sys
from pathlib import Path
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.process.ending import end_process
from sid_trainer.process.run_directory import RunDirectory

error = TrainerError(FailureReason.NUMERICAL_ERROR, "not a number")
end_process(error, 0, RunDirectory(Path(sys.argv[1])))
"""
ENDS = """
import sys
from sid_trainer.process.ending import end_with

print("what it did", flush=False)
if sys.argv[2:]:
    getattr(sys, sys.argv[2]).close()
end_with(int(sys.argv[1]))
"""


def ended(program: str, *arguments: str, redirected: str = "") -> int:
    """Exit code of a program whose descriptors a shell has redirected."""
    shell = f'exec "$0" -c "$@" {redirected}'
    command = ["/bin/sh", "-c", shell, sys.executable, program, *arguments]
    return subprocess.run(command, timeout=120, check=False, capture_output=True).returncode


def test_a_failure_that_cannot_be_written_keeps_its_code(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert ended(FAILS, str(tmp_path / "file")) == ExitCode.NUMERICS


@pytest.mark.parametrize("code", [0, ExitCode.STALLED])
@pytest.mark.parametrize("redirected", [">&-", "2>&-", ">&- 2>&-"])
def test_a_process_without_streams_ends_with_its_code(code: int, redirected: str) -> None:
    assert ended(ENDS, str(code), redirected=redirected) == code


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_process_that_closed_a_stream_ends_with_its_code(stream: str) -> None:
    assert ended(ENDS, "70", stream) == ExitCode.NUMERICS


@pytest.mark.parametrize(("code", "told"), [(0, UNWRITTEN), (70, 70)])
def test_output_that_was_lost_is_no_success(code: int, told: int) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-c", ENDS, str(code)]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(command, timeout=120, check=False, stdout=writing, env=buffered)
    os.close(writing)
    assert done.returncode == told
