"""What a data set holds: counted once."""

from __future__ import annotations

from pathlib import Path

import pytest

from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.data.images.census import take_census
from sid_trainer.data.images.count import Count
from sid_trainer.data.images.places import find_parts
from sid_trainer.process.group import SoloGroup
from sid_trainer.storage import FileStorage
from tests.unit.trainer.data.images.files import Unopened, pair, picture, shard


def test_small_images_are_left_out_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sides = [4, 16, 8, 7]
    images = {f"{n}.png": picture(side) for n, side in enumerate(sides)}
    texts = {f"{n}.txt": b"a" for n in range(len(sides))}
    shard(tmp_path / "s.tar", dict(sorted((images | texts | {"9.txt": b""}).items())))
    parts = find_parts(str(tmp_path))
    counts = take_census(parts, 8, SoloGroup(), FileStorage(tmp_path / "run"))
    assert counts == [Count(4, (0, 3), 1)]
    assert "2 of 4 images are left out" in caplog.text
    assert "1 samples without an image" in caplog.text


def test_no_usable_image_at_all(tmp_path: Path) -> None:
    shard(tmp_path / "s.tar", {"a.png": picture(4), "a.txt": b"a"})
    with pytest.raises(TrainerError, match="no image of at least 8 pixels: give larger") as caught:
        take_census(find_parts(str(tmp_path)), 8, SoloGroup(), FileStorage(tmp_path / "run"))
    assert caught.value.reason is FailureReason.INVALID_DATA


def test_a_later_attempt_does_not_look_again_unless_data_changed(tmp_path: Path) -> None:
    run = FileStorage(tmp_path / "run")
    data = tmp_path / "data"
    data.mkdir()
    pair(data / "s.tar")
    parts = find_parts(str(data))
    counts = take_census(parts, 8, SoloGroup(), run)
    unopened = [Unopened(part.name, part.version) for part in parts]
    assert take_census(unopened, 8, SoloGroup(), run) == counts
    with pytest.raises(AssertionError, match="opened"):
        take_census(unopened, 16, SoloGroup(), run)
    shard(data / "s.tar", {"a.png": picture(9), "a.txt": b"a"})
    assert take_census(find_parts(str(data)), 8, SoloGroup(), run) == [Count(1, (), 0)]
