"""What the watchdog's clock does in a process that is well: with a real group of one rank."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist

from sid_trainer import watchdog as watching
from sid_trainer.contract import ProgressReport, TrainerError
from sid_trainer.pace import SETTLED, SHORTEST
from sid_trainer.run_directory import Pulse, RunDirectory
from sid_trainer.watchdog import Watchdog

SECONDS = 1800.0
DEADLINE_SECONDS = 60  # a guard against hangs; a loaded machine may be slow


@pytest.fixture
def _group() -> Iterator[None]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


@pytest.fixture
def put_off(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds to which the timer in C was put off, which is not started; the clock ticks fast."""
    seconds: list[float] = []

    def later(timeout: float, **_: Any) -> None:
        seconds.append(timeout)

    monkeypatch.setattr(watching, "LONGEST_TICK", 0.02)
    monkeypatch.setattr("faulthandler.dump_traceback_later", later)
    return seconds


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def pulse(folder: Path) -> Pulse | None:
    file = folder / "pulse-00000.json"
    return Pulse.model_validate_json(file.read_bytes()) if file.exists() else None


def never(error: TrainerError) -> None:
    raise AssertionError(error)


@pytest.mark.usefixtures("_group")
def test_a_sign_that_cannot_be_written_ends_nothing(
    tmp_path: Path, put_off: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with Watchdog(SECONDS, never, RunDirectory(folder)) as watchdog, watchdog.watch("iteration 1"):
        wait_until(lambda: pulse(folder) is not None and bool(put_off))
        shutil.rmtree(folder)
        folder.touch()  # a file in its place: nothing can be written there
        wait_until(lambda: "cannot be written" in caplog.text)
        before = len(put_off)
        wait_until(lambda: len(put_off) > before + 3)
        folder.unlink()
        wait_until(lambda: pulse(folder) is not None)
    assert caplog.text.count("cannot be written") == 1


@pytest.mark.usefixtures("_group")
def test_what_has_no_pace_has_the_bound_of_the_user(tmp_path: Path, put_off: list[float]) -> None:
    def bound_is(seconds: float) -> bool:
        return (found := pulse(tmp_path)) is not None and found.bound == seconds

    with Watchdog(SECONDS, never, RunDirectory(tmp_path)) as watchdog:
        for iteration in range(SETTLED):
            with watchdog.watch(f"iteration {iteration}"):
                pass
        with watchdog.watch("iteration 6"):
            wait_until(lambda: bound_is(SHORTEST))
            wait_until(lambda: bool(put_off) and put_off[-1] < SECONDS)
        with watchdog.watch("the data of iteration 7", paced=False):
            wait_until(lambda: bound_is(SECONDS))
            wait_until(lambda: put_off[-1] > SECONDS)
        with watchdog.watch("iteration 7"):
            wait_until(lambda: bound_is(SHORTEST))


def test_a_pulse_that_would_grow_old_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    directory = RunDirectory(tmp_path)
    directory.write_pulse(Pulse(rank=0, time=0.0, bound=1.0))
    assert directory.silent(now=5.0)
    monkeypatch.setattr(directory, "_write", full)
    directory.write_pulse(Pulse(rank=0, time=4.0, bound=1.0))
    directory.write_progress(ProgressReport.model_validate(_REPORT))
    assert directory.silent(now=9.0) == []
    assert caplog.text.count("No space left on device") == 1


_REPORT = {"attempt": 1, "stage": "loading", "iterations": 4, "time": "2026-01-01T00:00:00Z"}
