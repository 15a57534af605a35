"""Samples of a folder of images."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from sid_trainer.contract import TrainerError
from sid_trainer.data.images.folder import PART_IMAGES
from sid_trainer.data.images.places import find_parts
from sid_trainer.process.failures import failure_of
from tests.unit.trainer.data.images.files import IMAGE, contents, folder, look_through, picture


def test_a_folder_has_captions_beside_the_images(tmp_path: Path) -> None:
    files = {"x/1.png": picture(), "x/1.txt": b"one", "2.v2.png": picture(), "2.v2.json": b""}
    folder(tmp_path, files | {"2.v2.json": b'{"text": "two"}', ".x.png": b"", "notes.md": b""})
    assert [text for _, text in contents(str(tmp_path))] == ["two", "one"]


def test_a_folder_has_captions_in_its_metadata(tmp_path: Path) -> None:
    lines = [{"file_name": "b.png", "text": "bee"}, {"file_name": "s/a.png", "caption": "ay"}]
    metadata = "\n".join(json.dumps(line) for line in lines).encode()
    files = {"b.png": picture(grey=1), "s/a.png": picture(grey=2), "metadata.jsonl": metadata}
    folder(tmp_path, files)
    assert contents(str(tmp_path)) == [(files["b.png"], "bee"), (files["s/a.png"], "ay")]


def test_a_large_folder_is_cut_into_parts(tmp_path: Path) -> None:
    image = picture(1)
    for number in range(PART_IMAGES + 1):
        folder(tmp_path, {f"{number:05}.png": image, f"{number:05}.txt": b"a"})
    parts = find_parts(str(tmp_path))
    assert [len(part.open().samples) for part in parts] == [PART_IMAGES, 1]
    before = [part.version for part in parts]
    (tmp_path / f"{PART_IMAGES:05}.txt").write_bytes(b"other")
    after = [part.version for part in find_parts(str(tmp_path))]
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False]


def test_names_of_files_need_not_be_utf_8(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    folder(tmp_path, {f"{name}.png": IMAGE, f"{name}.txt": b"a"})
    assert contents(str(tmp_path)) == [(IMAGE, "a")]
    (tmp_path / f"{name}.png").write_bytes(IMAGE[:50])
    with pytest.raises(TrainerError, match="cannot be decoded") as caught:
        look_through(tmp_path)
    assert "cannot be decoded" in failure_of(caught.value).message
