"""Checkpoints stored while training goes on: committed together, left out together."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sid_trainer.checkpoint import background
from sid_trainer.checkpoint.background import BackgroundSaver, Settled
from sid_trainer.checkpoint.pruning import Pruner
from sid_trainer.checkpoint.store import CheckpointStore
from sid_trainer.contract import FailureReason, ProgressReport, TrainerError
from sid_trainer.storage import FileStorage
from sid_trainer.telling.metrics_stream import MetricsStream

from .test_checkpoints import SETTINGS, on_ranks, state

WORLD = 2


class Gate(FileStorage):
    """A folder whose uploads wait for the test, and fail where it says so."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.open = threading.Event()
        self.failing: FailureReason | None = None

    def put_buffers(self, key: str, buffers: Sequence[memoryview]) -> None:
        assert self.open.wait(60)
        if self.failing is not None and "rank-00001" in key:
            raise TrainerError(self.failing, "no answer")
        super().put_buffers(key, buffers)


class Away(FileStorage):
    """A folder that does not answer to the first uploads of rank 1."""

    def __init__(self, path: Path, failures: int) -> None:
        super().__init__(path)
        self.failures = failures

    def put_buffers(self, key: str, buffers: Sequence[memoryview]) -> None:
        if self.failures and "rank-00001" in key:
            self.failures -= 1
            raise TrainerError(FailureReason.STORAGE_UNAVAILABLE, "no answer")
        super().put_buffers(key, buffers)


@pytest.fixture
def storage(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "run")


def saver(storage: Gate, group: Any, tolerated: int = 1) -> BackgroundSaver:
    store = CheckpointStore(storage, group, SETTINGS, Pruner(storage, 1, keep_last=2))
    return BackgroundSaver(store, group, tolerated)


def stored(storage: Gate) -> list[str]:
    return [found.key for found in storage.list("checkpoints/") if "manifest" in found.key]


def test_it_is_committed_where_the_ranks_meet_after_the_upload(storage: Gate) -> None:
    def rank(group: Any) -> list[Settled | None]:
        saves = saver(storage, group)
        assert saves.settle() is None
        saves.begin(state(group.rank, WORLD, 5), 5)
        early = saves.settle()
        assert saves.busy
        group.all_gather(None)  # all have looked
        storage.open.set()
        late = saves.settle(wait=True)
        assert not saves.busy
        return [early, late]

    for early, late in on_ranks(WORLD, rank):
        assert early is None
        assert late is not None
        assert late.ref is not None
        assert (late.iteration, late.problem) == (5, "")
    assert stored(storage) == ["checkpoints/iter-00000005/manifest.json"]


class SlowCommit(Gate):
    """A folder in which a manifest waits for the test."""

    def put_if(self, key: str, data: bytes, etag: str | None, content_type: str) -> bool:
        if "manifest" in key:
            assert self.open.wait(60)
        return super().put_if(key, data, etag, content_type)

    def put_buffers(self, key: str, buffers: Sequence[memoryview]) -> None:
        FileStorage.put_buffers(self, key, buffers)


def test_ranks_do_not_wait_for_a_commit_that_does_not_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "COMMIT_SECONDS", 0.05)
    storage = SlowCommit(tmp_path / "run")

    def rank(group: Any) -> Settled | None:
        saves = saver(storage, group)
        saves.begin(state(group.rank, WORLD, 5), 5)
        while not saves.committing:
            assert saves.settle() is None
        assert saves.settle() is None
        assert saves.busy
        group.all_gather(None)  # all have looked
        storage.open.set()
        return saves.settle(wait=True)

    for settled in on_ranks(WORLD, rank):
        assert settled is not None
        assert settled.ref is not None
    assert stored(storage) == ["checkpoints/iter-00000005/manifest.json"]


def test_what_is_told_of_the_iterations_is_stored_before_the_commit(storage: Gate) -> None:
    storage.open.set()
    seen: list[list[str]] = []

    def rank(group: Any) -> None:
        store = CheckpointStore(storage, group, SETTINGS, Pruner(storage, 1, keep_last=2))
        saves = BackgroundSaver(store, group, 1, lambda: seen.append(stored(storage)))
        for iteration in (5, 6):
            saves.begin(state(group.rank, WORLD, iteration), iteration)
            saves.settle(wait=True)

    on_ranks(WORLD, rank)
    assert seen == [[], ["checkpoints/iter-00000005/manifest.json"]], "once each, by rank 0"


def test_no_checkpoint_is_committed_over_lines_that_are_not_stored(
    storage: Gate, tmp_path: Path
) -> None:
    """A pod that is lost then takes its lines along, and what goes on does not tell them again."""
    storage.open.set()
    answers = iter([False, True])

    class MetricsAway(FileStorage):
        def put_bytes(self, key: str, data: bytes, content_type: str = "") -> None:
            if not next(answers):
                raise TrainerError(FailureReason.STORAGE_UNAVAILABLE, "no answer")
            super().put_bytes(key, data, content_type)

    stream = MetricsStream(MetricsAway(tmp_path), 1)
    stream.add(ProgressReport(attempt=1, stage="training", iterations=9, time=datetime.now(UTC)))

    def rank(group: Any) -> list[str]:
        store = CheckpointStore(storage, group, SETTINGS, Pruner(storage, 1, keep_last=2))
        saves = BackgroundSaver(store, group, 1, lambda: stream.flush(patiently=True))
        problems = []
        for iteration in (5, 6):
            saves.begin(state(group.rank, WORLD, iteration), iteration)
            settled = saves.settle(wait=True)
            assert settled is not None
            problems.append(settled.problem)
        return problems

    for first, second in on_ranks(WORLD, rank):
        assert "iteration 5 was not stored (1 of at most 1 in a row): no answer" in first
        assert not second
    assert stored(storage) == ["checkpoints/iter-00000006/manifest.json"]
    assert len(FileStorage(tmp_path).list("metrics/attempt-0001/part-")) == 1


def test_a_store_that_does_not_answer_costs_a_checkpoint_on_all_ranks(storage: Gate) -> None:
    storage.open.set()

    def rank(group: Any) -> list[Settled | None]:
        saves = saver(storage, group)
        found = []
        for iteration, failing in ((1, FailureReason.STORAGE_UNAVAILABLE), (2, None), (3, None)):
            group.all_gather(None)
            storage.failing = failing
            group.all_gather(None)
            saves.begin(state(group.rank, WORLD, iteration), iteration)
            found.append(saves.settle(wait=True))
        return found

    for first, second, third in on_ranks(WORLD, rank):
        assert first is not None
        assert first.ref is None
        assert (
            "iteration 1 was not stored (1 of at most 1 in a row): rank 1: no ans" in first.problem
        )
        assert second is not None
        assert third is not None
        assert second.ref is not None
        assert third.ref is not None
    assert len(stored(storage)) == 2


def settled(saves: BackgroundSaver, wait: bool) -> Settled:
    """What becomes of the checkpoint that is on its way, however often ranks have to meet."""
    while (found := saves.settle(wait=wait)) is None:
        assert saves.busy
    return found


@pytest.mark.parametrize("wait", [True, False])
def test_a_store_that_neither_answers_nor_fails_ends_the_run(
    storage: Gate, monkeypatch: pytest.MonkeyPatch, wait: bool
) -> None:
    """Whatever is tolerated: the snapshot cannot be freed, so that nothing else may be begun."""
    monkeypatch.setattr(background, "LONGEST_SECONDS", 0.05)

    def rank(group: Any) -> None:
        saves = saver(storage, group, tolerated=100)
        saves.begin(state(group.rank, WORLD, 5), 5)
        with pytest.raises(TrainerError, match="iteration 5 was not stored: rank 0") as ended:
            settled(saves, wait)
        assert ended.value.reason is FailureReason.STALLED

    try:
        on_ranks(WORLD, rank)
    finally:
        storage.open.set()


@pytest.mark.parametrize(
    ("reason", "tolerated", "attempts"),
    [
        (FailureReason.STORAGE_UNAVAILABLE, 2, 3),
        (FailureReason.STORAGE_UNAVAILABLE, 0, 1),
        (FailureReason.ACCESS_DENIED, 5, 1),
    ],
)
def test_the_run_ends_when_waiting_is_of_no_use(
    storage: Gate, reason: FailureReason, tolerated: int, attempts: int
) -> None:
    storage.open.set()
    storage.failing = reason

    def rank(group: Any) -> tuple[int, FailureReason]:
        saves = saver(storage, group, tolerated)
        for attempt in range(1, 10):
            saves.begin(state(group.rank, WORLD, attempt), attempt)
            try:
                saves.settle(wait=True)
            except TrainerError as error:
                return attempt, error.reason
        raise AssertionError("the run did not end")

    assert on_ranks(WORLD, rank) == [(attempts, reason)] * WORLD
    assert stored(storage) == []
