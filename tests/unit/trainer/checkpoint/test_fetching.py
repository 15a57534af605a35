"""An object is read in ranges, and every byte of it is held to the manifest."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import xxhash

from sid_trainer.checkpoint import fetching
from sid_trainer.checkpoint.manifest import DamagedError, PartFile
from sid_trainer.storage import FileStorage

KEY = "attempt-0001/rank-00000.safetensors"


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "BLOCK", 10)


def part(content: bytes) -> PartFile:
    checksum = f"xxh3-128:{xxhash.xxh3_128_hexdigest(content)}"
    return PartFile(key=KEY, size=len(content), checksum=checksum)


def part_of_version_1(content: bytes) -> PartFile:
    sha256 = hashlib.sha256(content).hexdigest()
    return PartFile.model_validate({"key": KEY, "size": len(content), "sha256": sha256})


@pytest.mark.parametrize("described", [part, part_of_version_1])
@pytest.mark.parametrize("size", [8, 9, 10, 11, 19, 20, 21, 95, 100])
def test_it_is_read_whole(
    tmp_path: Path, size: int, described: Callable[[bytes], PartFile]
) -> None:
    content = random.Random(size).randbytes(size)
    storage = FileStorage(tmp_path)
    storage.put_bytes(KEY, content)
    assert fetching.fetch(storage, KEY, described(content)) == content


@pytest.mark.parametrize("described", [part, part_of_version_1])
@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda content: content[:-1], "has 39 bytes, and its manifest says 40"),
        (lambda content: content[:15], "has 15 bytes, and its manifest says 40"),
        (lambda content: content + b"x", "has 41 bytes or more, and its manifest says 40"),
        (lambda content: b"\0" + content[1:], "does not have the checksum"),
        (lambda content: content[:-1] + b"\0", "does not have the checksum"),
        (lambda content: content[10:20] + content[:10] + content[20:], "not have the checksum"),
        (lambda _: None, "does not exist"),
    ],
)
def test_damage_is_told(
    tmp_path: Path,
    damage: Callable[[bytes], bytes | None],
    told: str,
    described: Callable[[bytes], PartFile],
) -> None:
    content = b"".join(bytes([65 + n]) * 10 for n in range(4))
    storage = FileStorage(tmp_path)
    damaged = damage(content)
    if damaged is not None:
        storage.put_bytes(KEY, damaged)
    with pytest.raises(DamagedError, match=told) as raised:
        fetching.fetch(storage, KEY, described(content))
    assert KEY in str(raised.value)


class Disturbed(FileStorage):
    """Bytes are damaged on their way in some of the first reads; what is stored is whole."""

    def __init__(self, path: Path, damaged: int) -> None:
        super().__init__(path)
        self.damaged = damaged

    def get_range(self, key: str, start: int, buffer: memoryview) -> int:
        found = super().get_range(key, start, buffer)
        if start == 0 and self.damaged:
            self.damaged -= 1
            buffer[3] ^= 1
        return found


def test_what_was_damaged_on_its_way_is_read_once_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = bytes(range(40))
    storage = Disturbed(tmp_path, damaged=1)
    storage.put_bytes(KEY, content)
    assert fetching.fetch(storage, KEY, part(content)) == content
    assert "does not have the checksum" in caplog.text
    assert "read once more" in caplog.text


def test_what_is_wrong_twice_is_damaged(tmp_path: Path) -> None:
    content = bytes(range(40))
    storage = Disturbed(tmp_path, damaged=2)
    storage.put_bytes(KEY, content)
    with pytest.raises(DamagedError, match="does not have the checksum"):
        fetching.fetch(storage, KEY, part(content))
