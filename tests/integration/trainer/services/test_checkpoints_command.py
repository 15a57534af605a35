"""``python -m sid_trainer checkpoints``: what people see of a run's checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest

from sid_trainer.cli import main
from sid_trainer.contract import ExitCode
from sid_trainer.report.records import Evaluation, Records
from sid_trainer.storage import FileStorage

from .test_checkpoints import save

PART = "checkpoints/iter-00000020/attempt-0001/rank-00001.safetensors"


@pytest.fixture
def storage(tmp_path: Path) -> FileStorage:
    """Checkpoints of iterations 10, 20 and 30, of two ranks, and a part of a dead attempt."""
    storage = FileStorage(tmp_path / "run")
    for iteration in (10, 20, 30):
        save(storage, 2, iteration, keep_last=9)
    storage.put_bytes("checkpoints/iter-00000040/attempt-0001/rank-00000.safetensors", b"torn")
    return storage


def run(action: str, storage: FileStorage, *more: str) -> int:
    return main(["checkpoints", action, "--storage", storage.uri(), *more])


def test_they_are_listed(storage: FileStorage, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("ls", storage) == ExitCode.DONE
    heading, *lines = capsys.readouterr().out.splitlines()
    assert heading.split() == ["ITERATION", "RANKS", "SIZE", "ATTEMPT", "TIME"]
    assert [line.split()[:2] for line in lines[:3]] == [["30", "2"], ["20", "2"], ["10", "2"]]
    assert lines[3] == "1 objects (4 B) belong to no checkpoint"


def test_whole_ones_are_verified(storage: FileStorage, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("verify", storage) == ExitCode.DONE
    assert capsys.readouterr().out.count("whole") == 3


def test_a_flipped_bit_is_found_and_named(
    storage: FileStorage, capsys: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(storage.get_bytes(PART))
    data[-3] ^= 1
    storage.put_bytes(PART, bytes(data))
    assert run("verify", storage) == ExitCode.DATA
    told = capsys.readouterr()
    assert f"iteration 20: {storage.uri(PART)} does not have the checksum" in told.out
    assert "1 objects are damaged" in told.err


def test_a_missing_part_is_listed(storage: FileStorage, capsys: pytest.CaptureFixture[str]) -> None:
    storage.delete([PART])
    run("ls", storage)
    assert f"{storage.uri(PART)} is missing" in capsys.readouterr().out


def test_all_but_the_newest_are_removed(
    storage: FileStorage, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = storage.uri("checkpoints/iter-00000040/attempt-0001/.part-x").removeprefix("file://")
    Path(begun).write_bytes(b"half")
    assert run("prune", storage, "--keep", "1", "--leftovers") == ExitCode.DONE
    assert storage.begun_uploads() == []
    keys = [found.key for found in storage.list("checkpoints/")]
    assert {key.split("/")[1] for key in keys} == {"iter-00000030"}
    assert len(keys) == 3
    assert "removed the checkpoint of iteration 10" in capsys.readouterr().out
    assert run("verify", storage) == ExitCode.DONE


def test_nothing_is_removed_for_the_sake_of_a_damaged_one(
    storage: FileStorage, capsys: pytest.CaptureFixture[str]
) -> None:
    newest = PART.replace("00000020", "00000030")
    data = bytearray(storage.get_bytes(newest))
    data[-3] ^= 1
    storage.put_bytes(newest, bytes(data))
    before = storage.list()
    assert run("prune", storage, "--keep", "1", "--leftovers") == ExitCode.DATA
    told = capsys.readouterr().err
    assert "nothing was removed" in told
    assert storage.uri(newest) in told
    assert storage.list() == before
    storage.delete([newest])  # this a listing finds: it is not counted as kept
    assert run("prune", storage, "--keep", "1") == ExitCode.DONE
    kept = {found.key.split("/")[1] for found in storage.list("checkpoints/")}
    assert kept == {"iter-00000020", "iter-00000030", "iter-00000040"}


def test_the_best_one_may_stay(storage: FileStorage, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("prune", storage, "--keep", "1", "--best", "fid") == ExitCode.NOT_FOUND
    assert "has no measurements" in capsys.readouterr().err
    measured = {5: 1.0, 10: 2.0, 20: 3.0, 30: 4.0}  # the very best has no checkpoint
    evaluations = tuple(
        Evaluation(iteration=at, images=at, settings="a", metrics={"fid": fid}, seconds=1.0)
        for at, fid in measured.items()
    )
    Records(evaluations=evaluations).save(storage)
    assert run("prune", storage, "--keep", "1", "--best", "fid") == ExitCode.DONE
    kept = {found.key.split("/")[1] for found in storage.list("checkpoints/")}
    assert kept == {"iter-00000010", "iter-00000030", "iter-00000040"}


def test_none_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("ls", FileStorage(tmp_path)) == ExitCode.DONE
    assert "there are no checkpoints" in capsys.readouterr().out


@pytest.mark.parametrize(
    "action", [("verify",), ("export", "--to", "student"), ("prune", "--keep", "1")]
)
def test_what_needs_a_checkpoint_fails_where_there_is_none(
    action: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *options = action
    assert run(name, FileStorage(tmp_path), *options) == ExitCode.NOT_FOUND
    assert "correct --storage, or wait for the first one" in capsys.readouterr().err
