"""What the watchdog's clock does in a process that is well: with a real group of one rank."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist

from sid_trainer.contract import ProgressReport, TrainerError
from sid_trainer.process.run_directory import Pulse, RunDirectory
from sid_trainer.watch import watchdog as watching
from sid_trainer.watch.heartbeats import collectives_begun
from sid_trainer.watch.pace import SETTLED, SHORTEST
from sid_trainer.watch.stall import Judgement
from sid_trainer.watch.watchdog import Watchdog
from tests.loopback import free_port

SECONDS = 1800.0
PULSE = "pulse-00000.json"
DEADLINE_SECONDS = 60  # a guard against hangs; a loaded machine may be slow


@contextmanager
def group_of_one() -> Iterator[None]:
    address = f"tcp://127.0.0.1:{free_port()}"
    dist.init_process_group("gloo", address, rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


@pytest.fixture
def _group() -> Iterator[None]:
    with group_of_one():
        yield


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
    file = folder / PULSE
    return Pulse.model_validate_json(file.read_bytes()) if file.exists() else None


def point(place: Path, target: Path) -> None:
    """Have a name mean something else, at once for whoever writes there."""
    link = place.with_name("link")
    link.symlink_to(target)
    link.replace(place)


def never(error: TrainerError) -> None:
    raise AssertionError(error)


@pytest.mark.usefixtures("_group")
def test_a_sign_that_cannot_be_written_ends_nothing(
    tmp_path: Path, put_off: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    place, folder, file = (tmp_path / name for name in ("place", "folder", "file"))
    folder.mkdir()
    file.touch()
    point(place, folder)
    with Watchdog(SECONDS, never, RunDirectory(place)) as watchdog, watchdog.watch("iteration 1"):
        wait_until(lambda: pulse(folder) is not None and bool(put_off))
        point(place, file)  # nothing can be written there
        wait_until(lambda: "cannot be written" in caplog.text)
        before = len(put_off)
        wait_until(lambda: len(put_off) > before + 3)
        (folder / PULSE).unlink()
        point(place, folder)
        wait_until(lambda: pulse(folder) is not None)
    assert caplog.text.count("cannot be written") == 1


@pytest.mark.usefixtures("_group")
def test_the_clock_goes_on_while_the_main_thread_has_put_standard_error_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As torch does while it compiles; the timer in C is real here."""
    monkeypatch.setattr(watching, "LONGEST_TICK", 0.02)
    with (
        redirect_stderr(io.StringIO()),
        Watchdog(SECONDS, never, RunDirectory(tmp_path)) as watchdog,
        watchdog.watch("iteration 1"),
    ):
        wait_until(lambda: pulse(tmp_path) is not None)
        first = pulse(tmp_path)
        wait_until(lambda: pulse(tmp_path) != first)


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


@pytest.mark.usefixtures("_group", "put_off")
def test_signs_are_shown_while_it_is_found_out_who_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bound may be shorter than that takes: the launcher would end all that wait."""
    judged = threading.Event()

    def judge(*_: object) -> None:
        judged.set()  # those that are waited for are in time, always

    monkeypatch.setattr(watching, "judge_stall", judge)
    monkeypatch.setattr(watching, "store_is_silent", judge)
    with Watchdog(0.1, never, RunDirectory(tmp_path)) as watchdog, watchdog.watch("iteration 1"):
        assert judged.wait(DEADLINE_SECONDS)
        seen: set[str] = set()

        def sees_another() -> bool:
            seen.add(repr(pulse(tmp_path)))
            return len(seen) > 3

        wait_until(sees_another)


@dataclass
class Slow:
    """Counts collectives as the watchdog does, when it may."""

    asked: threading.Event = field(default_factory=threading.Event)
    may: threading.Event = field(default_factory=threading.Event)

    def __call__(self) -> int:
        self.asked.set()
        assert self.may.wait(DEADLINE_SECONDS)
        return collectives_begun()


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    """What a heartbeat under way waits for."""
    slow = Slow()
    monkeypatch.setattr(watching, "collectives_begun", slow)
    return slow


@pytest.mark.usefixtures("put_off")
def test_no_heartbeat_is_under_way_when_the_group_ends(
    slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "LEAVING_SECONDS", DEADLINE_SECONDS)
    with group_of_one():
        with Watchdog(SECONDS, never) as watchdog:
            assert slow.asked.wait(DEADLINE_SECONDS)
            threading.Timer(0.2, slow.may.set).start()
        assert [thread for thread in watchdog._threads if thread.is_alive()] == []


@pytest.mark.usefixtures("put_off")
def test_a_heartbeat_that_outlives_the_group_ends_quietly(
    slow: Slow, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    errors: list[BaseException | None] = []
    monkeypatch.setattr("threading.excepthook", lambda args: errors.append(args.exc_value))
    monkeypatch.setattr(watching, "LEAVING_SECONDS", 0.0)
    with group_of_one(), Watchdog(SECONDS, never) as watchdog:
        assert slow.asked.wait(DEADLINE_SECONDS)
    slow.may.set()
    for thread in watchdog._threads:
        thread.join(DEADLINE_SECONDS)
        assert not thread.is_alive()
    assert errors == []
    assert "heartbeats end" not in caplog.text


def test_a_pulse_that_would_grow_old_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    directory = RunDirectory(tmp_path)
    directory.write_pulse(Pulse(rank=0, pid=1, time=0.0, bound=1.0))
    assert directory.silent(now=5.0)
    monkeypatch.setattr(directory, "_write", full)
    directory.write_pulse(Pulse(rank=0, pid=1, time=4.0, bound=1.0))
    directory.write_progress(ProgressReport.model_validate(_REPORT))
    assert directory.silent(now=9.0) == []
    assert caplog.text.count("No space left on device") == 1


_REPORT = {"attempt": 1, "stage": "loading", "iterations": 4, "time": "2026-01-01T00:00:00Z"}


@pytest.mark.usefixtures("_group", "put_off")
def test_a_judgement_ends_nothing_that_has_ended_by_itself() -> None:
    ended: list[TrainerError] = []
    watchdog = Watchdog(SECONDS, ended.append)
    with watchdog:
        pass
    watchdog._end_by(Judgement((0,), "rank 0 has not finished iteration 3"))
    assert ended == []
