"""When checkpoints are taken, told and left out; and how a run ends whose pod is told to end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sid_trainer.checkpoint.background import BackgroundSaver
from sid_trainer.checkpoint.pruning import Pruner
from sid_trainer.checkpoint.state import RankState
from sid_trainer.checkpoint.store import CheckpointStore
from sid_trainer.contract import CheckpointRef, FailureReason, TrainerError
from sid_trainer.process.run_directory import RunDirectory
from sid_trainer.telling.reporter import Reporter
from sid_trainer.training import keeping
from sid_trainer.training.keeping import Keeper

from .test_background import WORLD, Away, Gate, stored
from .test_checkpoints import SETTINGS, on_ranks, state


class Told(Reporter):
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(None)
        self.stored: list[int] = []
        self.problems: list[str] = []

    def checkpoint(self, ref: CheckpointRef) -> None:
        self.stored.append(ref.iteration)

    def checkpoint_problem(self, problem: str) -> None:
        self.problems.append(problem)


@pytest.fixture
def storage(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "run")


def keeper(storage: Gate, group: Any, told: Told, directory: RunDirectory | None = None) -> Keeper:
    store = CheckpointStore(storage, group, SETTINGS, Pruner(storage, 1, keep_last=9))
    saver = BackgroundSaver(store, group, tolerated=1)
    return Keeper(saver, group, lambda at: state(group.rank, WORLD, at), told, directory)


def test_one_that_is_due_while_another_is_on_its_way_is_left_out(storage: Gate) -> None:
    def rank(group: Any) -> Told:
        told = Told()
        keeps = keeper(storage, group, told)
        keeps.checkpoint(10)
        keeps.meet(11)
        keeps.checkpoint(20)
        group.all_gather(None)
        storage.open.set()
        keeps.keep(30)
        return told

    for told in on_ranks(WORLD, rank):
        assert told.stored == [10, 30]
        (problem,) = told.problems
        assert "iteration 20 was left out" in problem
        assert "raise checkpoint.everyIterations" in problem
    assert len(stored(storage)) == 2


def test_the_last_checkpoint_is_not_stored_twice(storage: Gate) -> None:
    storage.open.set()

    def rank(group: Any) -> list[int]:
        told = Told()
        keeps = keeper(storage, group, told)
        keeps.checkpoint(10)
        keeps.keep(10)
        keeps.keep(10)
        return told.stored

    assert on_ranks(WORLD, rank) == [[10]] * WORLD


def test_all_ranks_end_with_a_checkpoint_when_one_pod_is_told_to(
    storage: Gate, tmp_path: Path
) -> None:
    storage.open.set()

    def rank(group: Any) -> tuple[FailureReason, list[int]]:
        directory = RunDirectory(tmp_path / str(group.rank))
        directory.path.mkdir()
        told = Told()
        keeps = keeper(storage, group, told, directory)
        keeps.meet(1)
        if group.rank == 1:
            directory.request_stop()
        with pytest.raises(TrainerError, match="newest checkpoint is that of iteration 7") as end:
            keeps.meet(7)
        return end.value.reason, told.stored

    assert on_ranks(WORLD, rank) == [
        (FailureReason.PEER_LOST, [7]),
        (FailureReason.TERMINATED, [7]),
    ]


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow one another without a pause."""
    monkeypatch.setattr(keeping, "AGAIN_SECONDS", 0.0)


class Counted(Told):
    """A rank's checkpoints, and how many snapshots were taken for them."""

    def __init__(self, storage: Away, group: Any, tolerated: int, **more: Any) -> None:
        super().__init__()
        self.snapshots = 0
        store = CheckpointStore(storage, group, SETTINGS, Pruner(storage, 1, keep_last=9))
        saver = BackgroundSaver(store, group, tolerated)

        def snapshot(iteration: int) -> RankState:
            self.snapshots += 1
            return state(group.rank, WORLD, iteration)

        self.keeper = Keeper(saver, group, snapshot, self, more.get("directory"))


@pytest.mark.usefixtures("at_once")
def test_the_last_checkpoint_is_tried_until_it_is_stored(tmp_path: Path) -> None:
    storage = Away(tmp_path / "run", failures=2)

    def rank(group: Any) -> Counted:
        counted = Counted(storage, group, tolerated=2)
        counted.keeper.keep(10)
        return counted

    for counted in on_ranks(WORLD, rank):
        assert counted.stored == [10]
        assert [problem[:45] for problem in counted.problems] == [
            "the checkpoint of iteration 10 was not stored"
        ] * 2
        assert counted.snapshots == 1
    assert stored(storage) == ["checkpoints/iter-00000010/manifest.json"]


@pytest.mark.usefixtures("at_once")
def test_the_last_checkpoint_is_tried_as_often_as_is_tolerated(tmp_path: Path) -> None:
    storage = Away(tmp_path / "run", failures=9)

    def rank(group: Any) -> FailureReason:
        counted = Counted(storage, group, tolerated=2)
        with pytest.raises(TrainerError, match="iteration 10 was not stored") as end:
            counted.keeper.keep(10)
        return end.value.reason

    assert on_ranks(WORLD, rank) == [FailureReason.STORAGE_UNAVAILABLE] * WORLD
    assert storage.failures == 6


def test_one_before_a_measurement_is_tried_once(tmp_path: Path) -> None:
    storage = Away(tmp_path / "run", failures=1)

    def rank(group: Any) -> tuple[list[int], int]:
        counted = Counted(storage, group, tolerated=2)
        counted.keeper.secure(10)
        counted.keeper.secure(20)
        return counted.stored, len(counted.problems)

    assert on_ranks(WORLD, rank) == [([20], 1)] * WORLD


@pytest.mark.usefixtures("at_once")
def test_a_pod_that_is_told_to_end_tries_beyond_the_tolerance(tmp_path: Path) -> None:
    """Its launcher ends it when the grace period is over, and not before."""
    storage = Away(tmp_path / "run", failures=3)

    def rank(group: Any) -> tuple[FailureReason, list[int]]:
        directory = RunDirectory(tmp_path / str(group.rank))
        directory.path.mkdir()
        counted = Counted(storage, group, tolerated=0, directory=directory)
        assert not counted.keeper.told_to_end()
        if group.rank == 1:
            directory.request_stop()
        assert counted.keeper.told_to_end()
        with pytest.raises(TrainerError, match="newest checkpoint is that of iteration 7") as end:
            counted.keeper.meet(7)
        return end.value.reason, counted.stored

    assert on_ranks(WORLD, rank) == [
        (FailureReason.PEER_LOST, [7]),
        (FailureReason.TERMINATED, [7]),
    ]
