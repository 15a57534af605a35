"""Checkpoints of several ranks in a real MinIO: exact, verified, committed last, pruned."""

import hashlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
import xxhash
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors

from sid_trainer.checkpoint import layout
from sid_trainer.checkpoint.inspection import inventory, verify
from sid_trainer.checkpoint.pruning import Pruner
from sid_trainer.checkpoint.shard import Shard, read_shard
from sid_trainer.checkpoint.state import RankState
from sid_trainer.checkpoint.store import CheckpointStore, Resumed
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.process.group import SoloGroup
from sid_trainer.storage import FileStorage, Storage

SETTINGS = {"training": {"batchSize": 8, "learningRate": 1e-4}}


class ThreadGroup:
    """Ranks as threads of this process."""

    def __init__(self, rank: int, world: int, slots: list[Any], barrier: threading.Barrier) -> None:
        self.rank, self.world_size, self._slots, self._barrier = rank, world, slots, barrier

    def all_gather(self, value: Any) -> list[Any]:
        self._slots[self.rank] = value
        self._barrier.wait(60)
        values = list(self._slots)
        self._barrier.wait(60)
        return values


def on_ranks(world: int, work: Any) -> list[Any]:
    """Run ``work(group)`` as every rank at once."""
    slots: list[Any] = [None] * world
    barrier = threading.Barrier(world)
    groups = [ThreadGroup(rank, world, slots, barrier) for rank in range(world)]
    with ThreadPoolExecutor(world) as pool:
        return list(pool.map(work, groups))


def state(rank: int, world: int, iteration: int) -> RankState:
    generator = torch.Generator().manual_seed(1000 * iteration + rank)
    tensors = {
        "student/weight/proj.weight": torch.randn(37, generator=generator),
        "student/exp_avg/proj.weight": torch.randn(37, generator=generator).bfloat16(),
        "fake/weight/empty": torch.empty(0),
        "fake/step": torch.tensor(iteration),
        "fake/weight/matrix": torch.randn(3, 5, generator=generator).double().t(),
    }
    meta = {"iteration": iteration, "rank": rank, "worldSize": world, "seed": 3, "ü": [1, None]}
    return RankState(tensors, meta)


def store(
    storage: Storage,
    group: Any,
    attempt: int = 1,
    settings: dict[str, Any] = SETTINGS,
    uploads: Storage | None = None,
    **pruning: Any,
) -> CheckpointStore:
    pruner = Pruner(storage, attempt, **{"keep_last": 2, **pruning})
    return CheckpointStore(storage, group, settings, pruner, uploads=uploads)


def save(storage: Storage, world: int, iteration: int, attempt: int = 1, **changes: Any) -> None:
    on_ranks(
        world,
        lambda g: store(storage, g, attempt, **changes).save(
            state(g.rank, world, iteration), iteration
        ),
    )


def resume(storage: Storage, world: int, attempt: int = 2, **changes: Any) -> list[Resumed | None]:
    return on_ranks(world, lambda g: store(storage, g, attempt, **changes).resume())


def assert_resumed(found: list[Resumed | None], iteration: int) -> None:
    for rank, resumed in enumerate(found):
        assert resumed is not None
        assert resumed.iteration == resumed.ref.iteration == iteration
        expected = state(rank, len(found), iteration)
        assert resumed.state.meta == expected.meta
        assert resumed.state.tensors.keys() == expected.tensors.keys()
        for name, tensor in expected.tensors.items():
            restored = resumed.state.tensors[name]
            assert restored.dtype == tensor.dtype
            assert torch.equal(restored, tensor), name


@pytest.fixture(params=["file", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path, prefix: str) -> Storage:
    if request.param == "file":
        return FileStorage(tmp_path / "run")
    return request.getfixturevalue("minio").storage(prefix)


def test_a_shard_is_plain_safetensors_both_ways() -> None:
    shard = Shard(state(1, 2, 5))
    data = b"".join(shard.buffers)
    assert len(data) == shard.size
    read_by_library = load_safetensors(data)
    for name, tensor in state(1, 2, 5).tensors.items():
        assert torch.equal(read_by_library[name], tensor)
    tensors = {name: tensor.contiguous() for name, tensor in read_by_library.items()}
    written = save_safetensors(tensors, {"sid.meta": json.dumps({"a": 1})})
    ours = read_shard(bytearray(written))
    assert ours.meta == {"a": 1}
    assert all(torch.equal(ours.tensors[name], tensor) for name, tensor in tensors.items())


def test_the_students_weights_come_first_with_checksums_of_their_own() -> None:
    names = ("fake/weight/a", "student/exp_avg/a", "student/weight/a", "ema/weight/a")
    shard = Shard(RankState({name: torch.randn(5) for name in names}, {}))
    data, found = b"".join(shard.buffers), shard.checksums()
    (averaged, _), (present, _) = found.beginnings
    assert present - averaged == averaged - (len(data) - 4 * 20) == 20
    assert list(found.beginnings) == [
        (size, f"xxh3-128:{xxhash.xxh3_128_hexdigest(data[:size])}") for size in (averaged, present)
    ]
    assert found.whole == f"xxh3-128:{xxhash.xxh3_128_hexdigest(data)}"


def in_version_1(storage: Storage, iteration: int) -> None:
    """Write the manifest as it was before checksums were XXH3."""
    key = layout.manifest_key(iteration)
    document = json.loads(storage.get_bytes(key)) | {"formatVersion": 1}
    for rank, part in enumerate(document["parts"]):
        data = storage.get_bytes(f"{layout.folder(iteration)}/{layout.part_key(1, rank)}")
        for entry in (part, *part["beginnings"]):
            del entry["checksum"]
            entry["sha256"] = hashlib.sha256(data[: entry["size"]]).hexdigest()
    storage.put_bytes(key, json.dumps(document).encode())


def test_a_checkpoint_of_version_1_is_verified_and_resumed(storage: Storage) -> None:
    save(storage, 2, 10)
    in_version_1(storage, 10)
    assert verify(storage, inventory(storage).entries[0]) == []
    assert_resumed(resume(storage, 2), 10)
    part = f"{layout.folder(10)}/{layout.part_key(1, 1)}"
    data = bytearray(storage.get_bytes(part))
    data[-3] ^= 1
    storage.put_bytes(part, bytes(data))
    assert "does not have the checksum" in verify(storage, inventory(storage).entries[0])[0]
    with pytest.raises(TrainerError, match="does not have the checksum"):
        resume(storage, 2)


def test_every_rank_resumes_its_own_state_exactly(storage: Storage) -> None:
    assert resume(storage, 3) == [None, None, None]
    save(storage, 3, 10)
    save(storage, 3, 20)
    assert_resumed(resume(storage, 3), 20)


def test_the_newest_are_kept_and_nothing_else(storage: Storage) -> None:
    for iteration in (10, 20, 30, 40):
        save(storage, 2, iteration)
    keys = {found.key for found in storage.list("checkpoints/")}
    assert keys == {
        f"checkpoints/iter-{iteration:08d}/{name}"
        for iteration in (30, 40)
        for name in (
            "manifest.json",
            "attempt-0001/rank-00000.safetensors",
            "attempt-0001/rank-00001.safetensors",
        )
    }


def test_the_best_are_kept_besides(tmp_path: Path) -> None:
    storage, measured = FileStorage(tmp_path), {10: 3.0, 15: 0.5, 20: 1.0, 30: 2.0}

    def ranking() -> list[int]:
        """Of what was measured by now: a measurement comes before the commit."""
        newest = max(layout.iteration_of(found.key) or 0 for found in storage.list("checkpoints/"))
        return sorted((at for at in measured if at <= newest), key=lambda at: measured[at])

    kept = []
    for iteration in (10, 20, 30, 40):
        checkpoints = store(storage, SoloGroup(), keep_last=1, keep_best=1, ranking=ranking)
        checkpoints.save(state(0, 1, iteration), iteration)
        kept.append([path.name for path in sorted((tmp_path / "checkpoints").iterdir())])
    assert kept == [
        ["iter-00000010"],
        ["iter-00000020"],
        ["iter-00000020", "iter-00000030"],
        ["iter-00000020", "iter-00000040"],
    ]
    assert_resumed([store(storage, SoloGroup(), 2).resume()], 40)


def test_a_checkpoint_without_a_manifest_does_not_exist(storage: Storage) -> None:
    save(storage, 2, 10)
    storage.put_bytes("checkpoints/iter-00000020/attempt-0001/rank-00000.safetensors", b"torn")
    assert_resumed(resume(storage, 2), 10)
    save(storage, 2, 20, attempt=2)
    keys = [found.key for found in storage.list("checkpoints/iter-00000020/")]
    assert "checkpoints/iter-00000020/attempt-0001/rank-00000.safetensors" not in keys
    assert len(keys) == 3


def flip(data: bytes) -> bytes:
    return data[:-3] + bytes([data[-3] ^ 1]) + data[-2:]


def test_other_settings_are_refused(storage: Storage) -> None:
    save(storage, 2, 10)
    other = {"training": {"batchSize": 16, "learningRate": 1e-4}}
    message = r"training\.batchSize: now 16, in the checkpoint 8"
    with pytest.raises(TrainerError, match=message) as raised:
        resume(storage, 2, settings=other)
    assert raised.value.reason is FailureReason.INVALID_CONFIGURATION


NUMEL = {"proj.weight": 37, "one": 1, "even": 24, "none": 0}


def whole(name: str) -> torch.Tensor:
    """A flattened parameter, moment or average."""
    generator = torch.Generator().manual_seed(len(name))
    return torch.randn(NUMEL[name.split("/")[2]], generator=generator)


def sharded(rank: int, world: int) -> RankState:
    """A rank's state of these parameters, by the layout that a state promises."""
    names = [
        f"{of}/{parameter}" for of in ("student/weight", "fake/exp_avg") for parameter in NUMEL
    ]
    tensors = {}
    for name in names:
        length = -(-whole(name).numel() // world)
        padded = torch.nn.functional.pad(whole(name), (0, length * world - whole(name).numel()))
        tensors[name] = padded[rank * length : (rank + 1) * length]
    meta = {"iteration": 10, "rank": rank, "worldSize": world, "seed": 3, "numel": dict(NUMEL)}
    return RankState(tensors, meta)


@pytest.mark.parametrize(("old", "new"), [(4, 2), (4, 1), (4, 8), (1, 3), (3, 5), (2, 64)])
def test_a_checkpoint_is_laid_out_anew_for_another_number_of_ranks(
    tmp_path: Path, old: int, new: int
) -> None:
    storage = FileStorage(tmp_path / "run")
    on_ranks(old, lambda g: store(storage, g).save(sharded(g.rank, old), 10))
    for rank, resumed in enumerate(resume(storage, new)):
        assert resumed is not None
        expected = sharded(rank, new)
        assert resumed.state.meta == expected.meta
        for name, tensor in expected.tensors.items():
            assert torch.equal(resumed.state.tensors[name], tensor), name


def test_a_damaged_part_of_another_number_of_ranks_is_found(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path / "run")
    on_ranks(4, lambda g: store(storage, g).save(sharded(g.rank, 4), 10))
    storage.put_bytes("checkpoints/iter-00000010/attempt-0001/rank-00003.safetensors", b"torn")
    with pytest.raises(TrainerError, match="none of the 1 checkpoints"):
        resume(storage, 2)


def test_one_rank_that_cannot_write_fails_all_and_commits_nothing(minio: Any, prefix: str) -> None:
    good = minio.storage(prefix)
    bad = minio.storage(
        prefix, environ={"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y" * 8}
    )
    failures = []

    def work(group: Any) -> None:
        storage = bad if group.rank == 1 else good
        try:
            store(storage, group).save(state(group.rank, 2, 10), 10)
        except TrainerError as error:
            failures.append((error.reason, str(error)))

    on_ranks(2, work)
    assert [reason for reason, _ in failures] == [FailureReason.ACCESS_DENIED] * 2
    assert all(message.startswith("rank 1: ") for _, message in failures)
    assert not good.exists("checkpoints/iter-00000010/manifest.json")


def test_an_older_attempt_does_not_harm_a_newer_one(storage: Storage) -> None:
    save(storage, 1, 10, attempt=2)
    newer = "checkpoints/iter-00000030/attempt-0002/rank-00000.safetensors"
    storage.put_bytes(newer, b"being uploaded by attempt 2")
    save(storage, 1, 20, attempt=1, keep_last=1)
    assert storage.exists(newer)


class Impatient(FileStorage):
    """A folder of a store that does not answer in time."""

    def put_if(self, key: str, data: bytes, etag: str | None, content_type: str) -> bool:
        raise TrainerError(FailureReason.STORAGE_UNAVAILABLE, "no answer")


def test_a_commit_is_as_patient_as_the_uploads_before_it(tmp_path: Path) -> None:
    patient = FileStorage(tmp_path)
    save(Impatient(tmp_path), 2, 7, uploads=patient)
    assert_resumed(resume(patient, 2), 7)


def test_a_solo_group_is_a_run_of_one(storage: Storage) -> None:
    ref = store(storage, SoloGroup()).save(state(0, 1, 7), 7)
    assert ref.uri == storage.uri("checkpoints/iter-00000007")
    assert_resumed([store(storage, SoloGroup(), 2).resume()], 7)
