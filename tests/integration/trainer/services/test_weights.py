"""The student's weights out of checkpoints of any number of ranks, in one process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sid_trainer.checkpoint.inspection import inventory
from sid_trainer.checkpoint.manifest import Manifest
from sid_trainer.checkpoint.state import RankState
from sid_trainer.checkpoint.weights import Wanted, read_weights, size_to_read
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.storage import FileStorage, Storage

from .test_checkpoints import flip, on_ranks, store

SHAPES = {
    "proj.weight": torch.Size([3, 7]),
    "one": torch.Size([1]),
    "even": torch.Size([2, 12]),
}
KINDS = ("ema/weight", "student/weight", "student/exp_avg", "fake/weight")
PART = "checkpoints/iter-00000010/attempt-0001/rank-00001.safetensors"


def whole(kind: str, name: str, shapes: dict[str, torch.Size] = SHAPES) -> torch.Tensor:
    generator = torch.Generator().manual_seed(KINDS.index(kind) * 100 + len(name))
    return torch.randn(shapes[name], generator=generator)


def part(rank: int, world: int, kinds: tuple[str, ...] = KINDS) -> RankState:
    tensors = {}
    for kind in kinds:
        for name, shape in SHAPES.items():
            length = -(-shape.numel() // world)
            padded = torch.zeros(length * world)
            padded[: shape.numel()] = whole(kind, name).flatten()
            tensors[f"{kind}/{name}"] = padded[rank * length : (rank + 1) * length]
    numel = {name: shape.numel() for name, shape in SHAPES.items()}
    meta = {"iteration": 10, "rank": rank, "worldSize": world, "numel": numel}
    return RankState(tensors, meta)


@pytest.fixture(params=["file", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path, prefix: str) -> Storage:
    if request.param == "file":
        return FileStorage(tmp_path / "run")
    return request.getfixturevalue("minio").storage(prefix)


def saved(storage: Storage, world: int, kinds: tuple[str, ...] = KINDS) -> Manifest:
    on_ranks(world, lambda g: store(storage, g).save(part(g.rank, world, kinds), 10))
    (entry,) = inventory(storage).entries
    assert entry.manifest is not None
    return entry.manifest


def without_beginnings(manifest: Manifest) -> Manifest:
    """As it was written before beginnings had checksums."""
    parts = tuple(each.model_copy(update={"beginnings": ()}) for each in manifest.parts)
    return manifest.model_copy(update={"parts": parts})


@pytest.mark.parametrize("averaged", [True, False])
@pytest.mark.parametrize("world", [1, 3, 8])
def test_they_are_put_together_from_all_ranks(storage: Storage, world: int, averaged: bool) -> None:
    manifest, kind = saved(storage, world), KINDS[0 if averaged else 1]
    for dtype in (torch.float32, torch.bfloat16):
        read: list[int] = []
        weights = read_weights(storage, manifest, Wanted(averaged, SHAPES, dtype), read.append)
        assert weights.keys() == SHAPES.keys()
        for name in SHAPES:
            torch.testing.assert_close(weights[name], whole(kind, name).to(dtype), rtol=0, atol=0)
        assert sum(read) == size_to_read(manifest, averaged=averaged)
        assert sum(read) < sum(each.size for each in manifest.parts)
    old = without_beginnings(manifest)
    weights = read_weights(storage, old, Wanted(averaged, SHAPES, torch.float32))
    assert torch.equal(weights["even"], whole(kind, "even"))


def test_a_run_without_an_average_has_present_weights(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path)
    manifest = saved(storage, 2, KINDS[1:])
    weights = read_weights(storage, manifest, Wanted(False, SHAPES, torch.float32))
    assert torch.equal(weights["even"], whole("student/weight", "even"))


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("byte", [3, 60, 400, -300])
def test_a_flipped_bit_of_what_is_read_is_found(tmp_path: Path, byte: int, old: bool) -> None:
    """In the length of the header, in the header, and in weights."""
    storage = FileStorage(tmp_path)
    manifest = saved(storage, 2)
    size = manifest.parts[1].beginnings[0].size
    data = bytearray(storage.get_bytes(PART))
    data[byte if byte > 0 else size + byte] ^= 4
    storage.put_bytes(PART, bytes(data))
    with pytest.raises(TrainerError, match="rank-00001") as raised:
        read_weights(
            storage,
            without_beginnings(manifest) if old else manifest,
            Wanted(True, SHAPES, torch.float32),
        )
    assert raised.value.reason is FailureReason.INVALID_DATA
    assert "--iteration" in str(raised.value)


def test_what_is_not_read_does_no_harm(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path)
    manifest = saved(storage, 2)
    storage.put_bytes(PART, flip(storage.get_bytes(PART)))
    read_weights(storage, manifest, Wanted(True, SHAPES, torch.float32))


@pytest.mark.parametrize("damage", ["missing", "short", "swapped"])
def test_a_wrong_object_is_found(storage: Storage, damage: str) -> None:
    manifest = saved(storage, 2)
    data = storage.get_bytes(PART)
    if damage == "missing":
        storage.delete([PART])
    elif damage == "short":
        storage.put_bytes(PART, data[:700])
    else:
        storage.put_bytes(PART, storage.get_bytes(PART.replace("00001.s", "00000.s")))
    with pytest.raises(TrainerError, match="rank-00001") as raised:
        read_weights(storage, manifest, Wanted(True, SHAPES, torch.float32))
    assert raised.value.reason is FailureReason.INVALID_DATA


@pytest.mark.parametrize(
    "other", [{"proj.weight": torch.Size([4, 8])}, {"unknown": torch.Size([1])}]
)
def test_another_network_is_refused(tmp_path: Path, other: dict[str, torch.Size]) -> None:
    storage = FileStorage(tmp_path)
    with pytest.raises(TrainerError, match="of another network: ema/weight/") as raised:
        read_weights(storage, saved(storage, 2), Wanted(True, SHAPES | other, torch.float32))
    assert raised.value.reason is FailureReason.INVALID_CONFIGURATION


MEASURE = """
import sys, torch
from pathlib import Path
from sid_trainer.checkpoint.inspection import inventory
from sid_trainer.checkpoint.weights import Wanted, read_weights
from sid_trainer.storage import FileStorage

def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024

storage = FileStorage(Path(sys.argv[1]))
(entry,) = inventory(storage).entries
wanted = Wanted(True, {"large": torch.Size([int(sys.argv[2])])}, torch.bfloat16)
torch.zeros(2**20).bfloat16()
before = peak()
read_weights(storage, entry.manifest, wanted)
print(peak() - before)
"""


def test_memory_is_that_of_the_weights_and_a_block(tmp_path: Path) -> None:
    """Of a checkpoint of one rank, 280 MB: 20 MB of weights and 34 MB of a block, and a little."""
    numel = 10_000_000
    tensors = {f"{kind}/large": torch.ones(numel) for kind in (*KINDS, "a/b", "a/c", "a/d")}
    meta = {"iteration": 10, "rank": 0, "worldSize": 1, "numel": {"large": numel}}
    storage = FileStorage(tmp_path)
    on_ranks(1, lambda g: store(storage, g).save(RankState(tensors, meta), 10))
    measured = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path), str(numel)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert 40e6 < int(measured.stdout) < 70e6
