"""Every kind of damage to a checkpoint's objects: found before a weight is used, and named.

Each is done to the newer one of two checkpoints of two ranks, which goes on from the older one, and
to the only one, which ends the run for good. Listing, verifying and resuming find the same.
"""

from __future__ import annotations

import json
import logging
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import xxhash

from sid_trainer.checkpoint.finding import find
from sid_trainer.checkpoint.inspection import inventory, verify
from sid_trainer.checkpoint.state import RankState
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.storage import FileStorage, Storage
from sid_trainer.storage.base import MAX_SMALL_OBJECT

from .test_checkpoints import assert_resumed, on_ranks, resume, save, sharded, store

NEWER, OLDER = "checkpoints/iter-00000020", "checkpoints/iter-00000010"
MANIFEST, RETIRED = f"{NEWER}/manifest.json", f"{NEWER}/manifest.damaged.json"
PARTS = [f"{NEWER}/attempt-0001/rank-0000{rank}.safetensors" for rank in (0, 1)]
Damage = Callable[[Storage], None]


def changed(key: str, change: Callable[[bytes], bytes]) -> Damage:
    return lambda storage: storage.put_bytes(key, change(storage.get_bytes(key)))


def flipped(key: str, byte: int) -> Damage:
    def flip(data: bytes) -> bytes:
        altered = bytearray(data)
        altered[byte] ^= 1
        return bytes(altered)

    return changed(key, flip)


def copied(source: str, target: str) -> Damage:
    return lambda storage: storage.put_bytes(target, storage.get_bytes(source))


def removed(key: str) -> Damage:
    return lambda storage: storage.delete([key])


def swapped(storage: Storage) -> None:
    first, second = (storage.get_bytes(key) for key in PARTS)
    storage.put_bytes(PARTS[0], second)
    storage.put_bytes(PARTS[1], first)


def manifest(**fields: Any) -> Damage:
    return changed(MANIFEST, lambda data: json.dumps({**json.loads(data), **fields}).encode())


def parts(change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]], **fields: Any) -> Damage:
    """Change the entries of the parts in the manifest, and further fields."""

    def edit(data: bytes) -> bytes:
        document = json.loads(data)
        return json.dumps({**document, "parts": change(document["parts"]), **fields}).encode()

    return changed(MANIFEST, edit)


def with_first(**fields: Any) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    return lambda entries: [{**entries[0], **fields}, *entries[1:]]


CHECKSUM = "does not have the checksum"
NO_MANIFEST = r"iter-00000020/manifest\.json is no manifest"
DAMAGES: dict[str, tuple[Damage, str]] = {
    "a bit of the weights": (flipped(PARTS[0], -3), f"rank-00000.* {CHECKSUM}"),
    "a bit of another rank's weights": (flipped(PARTS[1], -3), f"rank-00001.* {CHECKSUM}"),
    "a bit of the length of the header": (flipped(PARTS[1], 2), f"rank-00001.* {CHECKSUM}"),
    "a bit of the header": (flipped(PARTS[1], 40), f"rank-00001.* {CHECKSUM}"),
    "a part cut short": (changed(PARTS[1], lambda data: data[:-1]), "rank-00001.* bytes"),
    "an empty part": (changed(PARTS[0], lambda _: b""), "rank-00000.* bytes"),
    "a part too long": (changed(PARTS[0], lambda data: data + b"\0"), "rank-00000.* bytes"),
    "a missing part": (removed(PARTS[1]), "rank-00001.* is missing"),
    "parts swapped between ranks": (swapped, f"rank-0000[01].* {CHECKSUM}"),
    "a part of another iteration": (
        copied(PARTS[0].replace(NEWER, OLDER), PARTS[0]),
        f"rank-00000.* {CHECKSUM}",
    ),
    "entries swapped between ranks": (
        parts(lambda entries: entries[::-1]),
        r"manifest\.json names attempt-0001/rank-00001\.safetensors as the part of rank 0",
    ),
    "a torn manifest": (changed(MANIFEST, lambda data: data[: len(data) // 2]), NO_MANIFEST),
    "an empty manifest": (changed(MANIFEST, lambda _: b""), NO_MANIFEST),
    "a manifest that is no JSON": (changed(MANIFEST, lambda _: b"\xff\xfe manifest"), NO_MANIFEST),
    "a manifest that is a list": (changed(MANIFEST, lambda _: b"[1]"), NO_MANIFEST),
    "a manifest without parts": (changed(MANIFEST, lambda _: b'{"formatVersion": 1}'), NO_MANIFEST),
    "a manifest of another iteration": (
        copied(f"{OLDER}/manifest.json", MANIFEST),
        r"iter-00000020/manifest\.json is the manifest of iteration 10",
    ),
    "too many ranks": (manifest(worldSize=3), "names 2 parts for 3 ranks"),
    "too few ranks": (manifest(worldSize=1), "names 2 parts for 1 ranks"),
    "a rank left out": (
        parts(lambda entries: entries[:1], worldSize=1),
        "rank-00000.* has worldSize 2 in place of 1",
    ),
    "a checksum": (parts(with_first(checksum=f"xxh3-128:{0:032x}")), f"rank-00000.* {CHECKSUM}"),
    "a checksum of another kind": (parts(with_first(checksum="crc32:00000000")), NO_MANIFEST),
    "a size": (parts(with_first(size=9999)), "rank-00000.* bytes, and its manifest says 9999"),
    "a size beyond all memory": (
        parts(with_first(size=10**15)),
        "rank-00000.* bytes, and its manifest says 1000000000000000",
    ),
    "a key that leads elsewhere": (parts(with_first(key="../../x.safetensors")), NO_MANIFEST),
    "a part of a rank that is not there": (
        parts(with_first(key="attempt-0001/rank-00007.safetensors")),
        r"manifest\.json names attempt-0001/rank-00007\.safetensors as the part of rank 0",
    ),
    "a bit of the settings": (
        changed(MANIFEST, lambda data: data.replace(b'"batchSize": 8', b'"batchSize": 9')),
        r"manifest\.json has settings that are not those of its own digest",
    ),
    "a digest of other settings": (
        manifest(settingsDigest="0" * 64),
        r"manifest\.json has settings that are not those of its own digest",
    ),
}


@pytest.fixture(params=["file", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path, prefix: str) -> Storage:
    """Checkpoints of iterations 10 and 20."""
    storage: Storage = FileStorage(tmp_path / "run")
    if request.param == "s3":
        storage = request.getfixturevalue("minio").storage(prefix)
    save(storage, 2, 10)
    save(storage, 2, 20)
    return storage


@pytest.mark.parametrize(("damage", "told"), DAMAGES.values(), ids=DAMAGES.keys())
def test_it_is_named_and_the_checkpoint_before_is_used(
    storage: Storage, damage: Damage, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    damage(storage)
    (entry, _) = inventory(storage).entries
    assert verify(storage, entry), "people are told as well"

    with caplog.at_level(logging.ERROR):
        found = resume(storage, 2)
    assert_resumed(found, 10)
    for resumed in found:
        assert resumed is not None
        (passed_over,) = resumed.passed_over
        assert passed_over.startswith("The checkpoint of iteration 20 is damaged: ")
        assert_told(told, passed_over)
    assert_told(told, caplog.text)
    assert "NOT USED" in caplog.text

    # It does not count as one to keep when training has gone on.
    save(storage, 2, 15, attempt=2)
    assert_resumed(resume(storage, 2, attempt=3), 15)
    assert storage.exists(f"{OLDER}/manifest.json")
    assert not storage.exists(MANIFEST)

    # What there is of it goes when as many newer ones as are kept are there.
    assert storage.exists(RETIRED)
    there = [part for part in PARTS if storage.exists(part)]
    assert len(there) >= 1
    for iteration in (25, 30):
        save(storage, 2, iteration, attempt=3)
    assert not any(storage.exists(key) for key in (RETIRED, *there))


def test_a_manifest_that_was_damaged_on_its_way_is_read_once_more(tmp_path: Path) -> None:
    class Disturbed(FileStorage):
        torn = True

        def get_bytes(self, key: str, max_bytes: int = MAX_SMALL_OBJECT) -> bytes:
            data = super().get_bytes(key, max_bytes)
            if key == MANIFEST and self.torn:
                self.torn = False
                return data[:-9]
            return data

    storage = Disturbed(tmp_path / "run")
    save(FileStorage(tmp_path / "run"), 2, 20)
    (found,) = find(storage)
    assert (found.manifest is None, found.damage) == (False, "")
    assert not storage.torn


@pytest.mark.parametrize(("damage", "told"), DAMAGES.values(), ids=DAMAGES.keys())
def test_where_no_other_is_left_the_run_ends_for_good(
    tmp_path: Path, damage: Damage, told: str
) -> None:
    storage = FileStorage(tmp_path / "run")
    save(storage, 2, 10)
    save(storage, 2, 20)
    damage(storage)
    storage.delete([f"{OLDER}/manifest.json"])
    for attempt in (2, 3):
        with pytest.raises(TrainerError, match="none of the 1 checkpoints") as raised:
            resume(storage, 2, attempt)
        assert raised.value.reason is FailureReason.INVALID_DATA
        assert_told(told, str(raised.value))
        assert "restore the objects, or delete that folder" in str(raised.value)


@pytest.mark.parametrize("world", [1, 3])
@pytest.mark.parametrize("name", ["a bit of another rank's weights", "a missing part"])
def test_another_number_of_ranks_finds_it_too(tmp_path: Path, name: str, world: int) -> None:
    storage = FileStorage(tmp_path / "run")

    def save_part(group: Any) -> None:
        part = sharded(group.rank, 2)
        store(storage, group).save(RankState(part.tensors, part.meta | {"iteration": 20}), 20)

    on_ranks(2, save_part)
    damage, told = DAMAGES[name]
    damage(storage)
    with pytest.raises(TrainerError, match="none of the 1 checkpoints") as raised:
        resume(storage, world)
    assert_told(told, str(raised.value))


def test_a_later_format_is_refused_and_not_passed_over(storage: Storage) -> None:
    manifest(formatVersion=3)(storage)
    with pytest.raises(TrainerError, match=r"manifest\.json has format version 3") as raised:
        resume(storage, 2)
    assert raised.value.reason is FailureReason.INVALID_CONFIGURATION
    assert "resume with the image that wrote it" in str(raised.value)
    assert storage.exists(MANIFEST)


def test_a_header_that_is_longer_than_its_file(tmp_path: Path) -> None:
    """With a checksum that fits: whoever wrote it was wrong."""
    storage = FileStorage(tmp_path / "run")
    save(storage, 1, 10)
    part = f"{OLDER}/attempt-0001/rank-00000.safetensors"
    data = struct.pack("<Q", 2**62) + storage.get_bytes(part)[8:]
    storage.put_bytes(part, data)
    key = f"{OLDER}/manifest.json"
    document = json.loads(storage.get_bytes(key))
    document["parts"][0]["checksum"] = f"xxh3-128:{xxhash.xxh3_128_hexdigest(data)}"
    storage.put_bytes(key, json.dumps(document).encode())
    with pytest.raises(TrainerError, match=r"rank-00000\.safetensors is no rank state"):
        resume(storage, 1)


def assert_told(pattern: str, text: str) -> None:
    assert re.search(pattern, text), text
