"""Samples of a shard."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.data.images.places import find_parts
from tests.unit.trainer.data.images.files import IMAGE, contents, pair, picture, shard


def test_a_shard_has_its_samples_in_order(tmp_path: Path) -> None:
    files = {
        "b/0.png": picture(grey=1),
        "b/0.txt": b"\xef\xbb\xbfone\n line",
        "b/0.json": b'{"caption": "not this one"}',
        "a.JPG": picture(kind="JPEG"),
        "a.json": b'{"caption": "from  JSON", "text": "no"}',
        "a.seg.png": picture(),
        "failed.json": b"{}",
        ".hidden.png": b"",
        "c.webp": picture(kind="WEBP"),
        "c.cls": b"7",
        "c.txt": "größe".encode(),
    }
    path = shard(tmp_path / "0.tar", files)
    assert contents(str(path)) == [
        (files["b/0.png"], "one line"),
        (files["a.JPG"], "from JSON"),
        (files["c.webp"], "größe"),
    ]
    assert find_parts(str(path))[0].open().without_image == 1


def test_a_character_in_two_halves_is_one(tmp_path: Path) -> None:
    shard(tmp_path / "s.tar", {"a.png": IMAGE, "a.json": b'{"caption": "\\ud83e\\udd8a"}'})
    assert contents(str(tmp_path)) == [(IMAGE, "🦊")]


def test_a_shard_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (part,) = find_parts(str(pair(tmp_path / "s.tar")))
    found = part.open()
    with Path("/proc/self/mem").open("rb") as unreadable:  # its first page: an I/O error
        os.dup2(unreadable.fileno(), found._descriptor)  # type: ignore[attr-defined]
    with pytest.raises(TrainerError, match=r"cannot read .*/s\.tar: Input/output error") as caught:
        found.samples[0].image()
    assert caught.value.reason is FailureReason.STORAGE_UNAVAILABLE
    found.close()
    (tmp_path / "s.tar").unlink()
    with pytest.raises(TrainerError, match=r"s\.tar does not exist: check the path") as caught:
        part.open()
    assert caught.value.reason is FailureReason.NOT_FOUND
    (tmp_path / "s.tar").symlink_to("s.tar")
    with pytest.raises(TrainerError, match=r"s\.tar: Too many levels of symbolic links") as caught:
        part.open()
    assert caught.value.reason is FailureReason.STORAGE_UNAVAILABLE
