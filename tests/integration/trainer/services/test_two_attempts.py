"""Two attempts of a run at once, interleaved at every request: neither damages the other's work."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sid_trainer.checkpoint.attempts import Claim, claim_attempt, claim_key, require_newest
from sid_trainer.checkpoint.commit import announce
from sid_trainer.checkpoint.inspection import inventory, verify
from sid_trainer.checkpoint.leftovers import give_up_dead_uploads
from sid_trainer.checkpoint.pruning import Pruner
from sid_trainer.checkpoint.store import CheckpointStore
from sid_trainer.commands.remove import remove
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.process.group import SoloGroup
from sid_trainer.storage import FileStorage, Storage
from tests.minio_server import MinioServer

from .test_checkpoints import state

SETTINGS = {"training": {"batchSize": 8}}
MOST_REQUESTS = 40


class Interrupted:
    """A storage whose nth use waits while ``meanwhile`` happens."""

    def __init__(self, storage: Storage, at: int, meanwhile: Callable[[], object]) -> None:
        self._storage, self._at, self._meanwhile = storage, at, meanwhile
        self.uses = 0

    def uri(self, key: str = "") -> str:
        return self._storage.uri(key)

    def __getattr__(self, name: str) -> Any:
        use = getattr(self._storage, name)

        def used(*arguments: Any) -> Any:
            self.uses += 1
            if self.uses == self._at:
                self._meanwhile()
            return use(*arguments)

        return used


@contextlib.contextmanager
def perhaps_replaced() -> Iterator[None]:
    """An attempt may find that it has been replaced, and nothing else."""
    try:
        yield
    except TrainerError as error:
        if error.reason is not FailureReason.PEER_LOST:
            raise


def checkpoints(storage: Any, claim: Claim, *, fenced: bool = True) -> CheckpointStore:
    fence = partial(require_newest, storage, claim) if fenced else lambda: None
    pruner = Pruner(storage, claim.attempt, keep_last=1, fence=fence)
    return CheckpointStore(storage, SoloGroup(), SETTINGS, pruner)


def live(storage: Storage, iterations: tuple[int, ...]) -> list[int]:
    """A newer attempt: it claims, resumes, and stores what comes after; return what it stored."""
    claim = claim_attempt(storage)
    store = checkpoints(storage, claim)
    resumed = store.resume()
    begun = resumed.iteration if resumed else 0
    stored = [iteration for iteration in iterations if iteration > begun]
    for iteration in stored:
        store.save(state(0, 1, iteration), iteration)
    return stored


def assert_sound(storage: Storage, newest: list[int]) -> None:
    """Every checkpoint is whole, and the last that the newer attempt stored is there, and its."""
    found = inventory(storage)
    assert found.entries
    for entry in found.entries:
        assert verify(storage, entry) == [], entry
    by_iteration = {one.iteration: one.manifest for one in found.entries}
    for iteration in newest[-1:]:
        manifest = by_iteration[iteration]
        assert manifest is not None
        assert manifest.attempt == 2


@pytest.mark.parametrize("iterations", [(15,), (20,)])
def test_a_straggler_harms_nothing_whenever_it_was_stopped(
    minio: MinioServer, prefix: str, iterations: tuple[int, ...]
) -> None:
    """Attempt 1 stops before each of its requests in turn, attempt 2 lives, attempt 1 goes on."""
    for at in range(1, MOST_REQUESTS):
        storage = minio.storage(f"{prefix}/{at}")
        claim = claim_attempt(storage)
        checkpoints(storage, claim).save(state(0, 1, 10), 10)
        stored: list[int] = []
        slow = Interrupted(storage, at, lambda s=storage, to=stored: to.extend(live(s, iterations)))  # type: ignore[misc]
        with perhaps_replaced():
            checkpoints(slow, claim).save(state(0, 1, 20), 20)
        if slow.uses < at:
            assert at > 10, "the commit was looked at in steps"
            return
        assert_sound(storage, stored)
    raise AssertionError("a commit takes too many requests")


def test_a_commit_of_the_past_harms_nothing_whenever_it_comes(
    minio: MinioServer, prefix: str
) -> None:
    """Attempt 1 has passed its fence; its commit falls before each request of attempt 2's save."""
    for at in range(1, MOST_REQUESTS):
        storage = minio.storage(f"{prefix}/{at}")
        first = checkpoints(storage, claim_attempt(storage), fenced=False)
        first.save(state(0, 1, 10), 10)
        part = first.upload(state(0, 1, 20), 20)

        def commit(first: CheckpointStore = first, part: Any = part) -> None:
            with perhaps_replaced():
                first.commit([part], 20)

        claim = claim_attempt(storage)
        assert checkpoints(storage, claim).resume() is not None
        slow = Interrupted(storage, at, commit)
        checkpoints(slow, claim).save(state(0, 1, 15), 15)
        if slow.uses < at:
            return
        assert_sound(storage, [])
        resumed = checkpoints(storage, claim).resume()
        assert resumed is not None
        assert resumed.iteration in (15, 20)
    raise AssertionError("a commit takes too many requests")


def test_an_attempt_that_was_replaced_commits_nothing(minio: MinioServer, prefix: str) -> None:
    storage = minio.storage(prefix)
    claim = claim_attempt(storage)
    store = checkpoints(storage, claim)
    store.save(state(0, 1, 10), 10)
    claim_attempt(storage)
    with pytest.raises(TrainerError, match=r"attempt 2 of this run, started \S+ on \S+") as raised:
        store.save(state(0, 1, 20), 20)
    assert raised.value.reason is FailureReason.PEER_LOST
    assert [entry.iteration for entry in inventory(storage).entries] == [10]


@pytest.mark.parametrize("kind", ["file", "s3"])
def test_of_many_that_start_at_once_each_has_its_own_number(
    request: pytest.FixtureRequest, tmp_path: Path, prefix: str, kind: str
) -> None:
    storage: Storage = FileStorage(tmp_path)
    if kind == "s3":
        storage = request.getfixturevalue("minio").storage(prefix)
    with ThreadPoolExecutor(6) as pool:
        claims = list(pool.map(lambda _: claim_attempt(storage), range(6)))
    assert sorted(claim.attempt for claim in claims) == [1, 2, 3, 4, 5, 6]
    require_newest(storage, next(claim for claim in claims if claim.attempt == 6))


class Careless(FileStorage):
    """A store that ignores the condition of a write."""

    def put_if(self, key: str, data: bytes, etag: str | None, content_type: str) -> bool:
        self.put_bytes(key, data, content_type)
        return True


def test_where_a_store_ignores_conditions_the_last_has_the_number(tmp_path: Path) -> None:
    storage = Careless(tmp_path)
    slow = Interrupted(storage, 2, lambda: claim_attempt(storage))
    last = claim_attempt(slow)  # type: ignore[arg-type]
    require_newest(storage, last)
    other = Claim(last.attempt, "of the one that was overwritten")
    with pytest.raises(TrainerError, match="has taken over"):
        require_newest(storage, other)


def test_a_claim_that_was_deleted_is_no_other_start(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path)
    claim = claim_attempt(storage)
    storage.delete([claim_key(claim.attempt)])
    require_newest(storage, claim)


PART = "checkpoints/iter-00000{}/attempt-000{}/rank-00000.safetensors"


def test_unfinished_uploads_of_earlier_attempts_are_removed(
    minio_factory: Callable[[], MinioServer], prefix: str
) -> None:
    server = minio_factory()
    storage, client = server.storage(prefix), server.sdk()
    earlier, own, newer = PART.format(200, 1), PART.format(300, 2), PART.format(400, 3)
    student, foreign = "student/transformer/model.safetensors", "elsewhere/thing"
    for key in (earlier, own, newer, student, foreign):
        client.begin_upload("runs", f"{prefix}/{key}", {})
    storage.put_bytes(earlier.replace("rank-00000.safetensors", "begun.json"), b'{"worldSize": 2}')

    give_up_dead_uploads(storage, 2, lambda: None)
    assert [upload.key for upload in storage.begun_uploads()] == [own, newer, foreign]

    # After a restart MinIO knows them by their whole names only, which were announced.
    client.begin_upload("runs", f"{prefix}/{earlier}", {})
    server.stop()
    server.start()
    assert storage.begun_uploads() == []
    assert [upload.key for upload in storage.begun_uploads([earlier])] == [earlier]
    give_up_dead_uploads(storage, 2, lambda: None)
    assert storage.begun_uploads([earlier]) == []


def test_an_upload_that_failed_goes_with_a_later_commit(minio: MinioServer, prefix: str) -> None:
    storage, claim = minio.storage(prefix), Claim(1, "")
    part = PART.format("010", 1)
    announce(storage, 10, 1, world=1)
    minio.sdk().begin_upload("runs", f"{prefix}/{part}", {})
    checkpoints(storage, claim, fenced=False).save(state(0, 1, 20), 20)
    assert storage.begun_uploads([part]) == []
    assert inventory(storage).leftovers == []


def test_a_run_is_removed_with_its_unfinished_uploads(
    minio: MinioServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in minio.environ.items():
        monkeypatch.setenv(name, value)
    storage, beside = minio.storage(f"{prefix}/run"), minio.storage(f"{prefix}/running")
    for one in (storage, beside):
        one.put_bytes("student/model_index.json", b"{}")
        minio.sdk().begin_upload("runs", one.uri("student/big").removeprefix("s3://runs/"), {})
    assert remove(storage.uri(), minio.endpoint) == 1
    assert (storage.list(), storage.begun_uploads(["student/big"])) == ([], [])
    assert (len(beside.list()), len(beside.begun_uploads(["student/big"]))) == (1, 1)


def test_of_a_bucket_that_is_gone_nothing_is_left_to_remove(
    minio: MinioServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in minio.environ.items():
        monkeypatch.setenv(name, value)
    assert remove("s3://a-bucket-that-is-gone/team/run", minio.endpoint) == 0


def test_files_that_a_killed_writer_left_are_removed(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path)
    for key in (PART.format(200, 1), PART.format(300, 2)):
        part = (tmp_path / key).parent / ".part-abc"
        part.parent.mkdir(parents=True)
        part.write_bytes(b"half")
    give_up_dead_uploads(storage, 2, lambda: None)
    left = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob(".part-*")]
    assert left == ["checkpoints/iter-00000300/attempt-0002/.part-abc"]
