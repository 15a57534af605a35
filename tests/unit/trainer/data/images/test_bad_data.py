"""Data sets that are damaged or wrong: each is told for good, with its file and the remedy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sid_trainer.contract import EXIT_CODE_OF, PERMANENT_EXIT_CODES, FailureReason, TrainerError
from tests.unit.trainer.data.images.files import IMAGE, Files, folder, look_through, pair, shard


def cut(size: int) -> Callable[[Path], None]:
    """Cut the shard of two samples to some bytes."""

    def work(path: Path) -> None:
        whole = pair(path / "s.tar").read_bytes()
        (path / "s.tar").write_bytes(whole[:size])

    return work


def damaged_header(path: Path) -> None:
    data = bytearray(pair(path / "s.tar").read_bytes())
    data[2048:2148] = b"\xff" * 100
    (path / "s.tar").write_bytes(data)


def with_files(files: Files, name: str = "s.tar") -> Callable[[Path], None]:
    return lambda path: void(shard(path / name, files))


def loose(files: Files) -> Callable[[Path], None]:
    return lambda path: void(folder(path, files))


def void(_: object) -> None:
    return None


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n"
BAD = {
    "cut in a member": (cut(2600), r"s\.tar is cut short or damaged at or after b\.png: upload"),
    "cut in a header": (cut(2100), r"s\.tar is cut short or damaged at or after a\.txt"),
    "cut between members": (cut(2048), r"s\.tar is cut short or damaged at or after a\.txt"),
    "damaged header": (damaged_header, r"s\.tar is cut short or damaged at or after a\.txt"),
    "empty shard file": (cut(0), r"s\.tar is cut short or damaged at its beginning"),
    "not a tar": (loose({"s.tar": b"x" * 5000}), r"s\.tar is cut short or damaged at its begin"),
    "no caption in shard": (with_files({"a.png": IMAGE}), r"s\.tar: a\.png has no caption: put"),
    "caption of another": (with_files({"a.png": IMAGE, "b.txt": b"b"}), r"a\.png has no caption"),
    "empty caption": (with_files({"a.png": IMAGE, "a.txt": b" \n"}), r"s\.tar: a\.txt is empty:"),
    "caption not UTF-8": (with_files({"a.png": IMAGE, "a.txt": b"\xff"}), r"a\.txt is not UTF-8"),
    "JSON without caption": (
        with_files({"a.png": IMAGE, "a.json": b"[]"}),
        r"s\.tar: a\.json has no caption: give a text in its field caption",
    ),
    "no JSON": (with_files({"a.png": IMAGE, "a.json": b"{"}), r"s\.tar: a\.json is not JSON"),
    "half a character in JSON": (
        with_files({"a.png": IMAGE, "a.json": b'{"caption": "a fox \\ud83d"}'}),
        r"s\.tar: a\.json has half a character \(\\ud83d, a surrogate alone\) in its caption:",
    ),
    "JSON nested too deep": (
        with_files({"a.png": IMAGE, "a.json": b"[" * 200_000}),
        r"s\.tar: a\.json is not JSON \(it is nested too deep\): correct it",
    ),
    "caption not fetched": (
        with_files({"a.png": IMAGE, "a.txt": POINTER}),
        r"s\.tar: a\.txt is a git-LFS pointer: fetch the file itself",
    ),
    "two images": (
        with_files({"a.png": IMAGE, "a.jpg": IMAGE, "a.txt": b"a"}),
        r"s\.tar: a\.png has the same name as a\.jpg",
    ),
    "no image": (
        with_files({"a.png": b"GIF89a", "a.txt": b"a"}),
        r"s\.tar: a\.png is not a usable image \(no JPEG, PNG or WebP\): replace it",
    ),
    "cut image": (
        with_files({"a.png": IMAGE[:50], "a.txt": b"a"}),
        r"s\.tar: a\.png cannot be decoded \(.*\): replace it by a whole JPEG",
    ),
    "empty folder": (loose({}), r"is empty: give WebDataset shards"),
    "nothing of use": (loose({"a.gif": b""}), r"holds no shards and no images \(a\.gif\)"),
    "compressed": (loose({"a.tar.gz": b""}), r"a\.tar\.gz is compressed: unpack it"),
    "both": (loose({"a.tar": b"", "a.png": b""}), r"holds shards \(a\.tar\) and images \(a\.png\)"),
    "no caption in folder": (loose({"a.png": IMAGE}), r"a\.png has no caption: put a \.txt"),
    "absent image": (
        loose({"b.png": IMAGE, "metadata.jsonl": b'\n{"file_name": "a.png", "text": "a"}'}),
        r"metadata\.jsonl line 2 names a\.png, which is not there",
    ),
    "image without line": (
        loose({"b.png": IMAGE, "metadata.jsonl": b""}),
        r"b\.png is not in metadata\.jsonl: add a line",
    ),
    "metadata not JSON": (
        loose({"b.png": IMAGE, "metadata.jsonl": b"b.png,bee"}),
        r"metadata\.jsonl line 1 is not JSON",
    ),
    "half a character in metadata": (
        loose({"b.png": IMAGE, "metadata.jsonl": b'{"file_name": "b.png", "text": "\\udc00"}'}),
        r"metadata\.jsonl line 1 has half a character \(\\udc00, a surrogate alone\)",
    ),
    "metadata nested too deep": (
        loose({"b.png": IMAGE, "metadata.jsonl": b"[" * 200_000}),
        r"metadata\.jsonl line 1 is not JSON \(it is nested too deep\): write one",
    ),
    "metadata without file": (
        loose({"b.png": IMAGE, "metadata.jsonl": b"{}"}),
        r"metadata\.jsonl line 1 has no file_name",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_data_are_told_for_good(name: str, tmp_path: Path) -> None:
    make, message = BAD[name]
    make(tmp_path)
    with pytest.raises(TrainerError, match=message) as caught:
        look_through(tmp_path)
    assert caught.value.reason is FailureReason.INVALID_DATA
    assert EXIT_CODE_OF[caught.value.reason] in PERMANENT_EXIT_CODES
