"""The digits as shards, read back as the trainer reads them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits

from sid_trainer.data.images.pixels import square_pixels
from sid_trainer.data.images.places import find_parts
from sid_trainer.digits.cli import main
from sid_trainer.digits.images import SHARDS
from sid_trainer.digits.prompts import prompts_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("digits")
    assert main(["images", "--output", str(path / "images")]) == 0
    return path / "images"


def test_every_digit_is_there_with_a_caption_of_its_own(folder: Path) -> None:
    digits, seen = load_digits(), Counter[str]()
    parts = [part.open() for part in find_parts(str(folder))]
    assert len(parts) == SHARDS
    for number in range(len(digits.images)):
        sample = parts[number % SHARDS].samples[number // SHARDS]
        assert sample.caption() in prompts_of(int(digits.target[number]))
        seen[sample.caption()] += 1
        if number % 100 == 0:
            pixels = square_pixels(sample.image(), 8, sample.name)
            ink = torch.tensor(digits.images[number] / 16, dtype=torch.float32)
            torch.testing.assert_close(pixels, ink.expand(3, 8, 8), rtol=0, atol=0.51 / 255)
    assert len(seen) == 80
    assert min(seen.values()) > 10


def test_pixels_become_squares(tmp_path: Path) -> None:
    assert main(["images", "--output", str(tmp_path), "--size", "24"]) == 0
    sample = find_parts(str(tmp_path))[0].open().samples[0]
    pixels = square_pixels(sample.image(), 24, sample.name)
    ink = torch.tensor(load_digits().images[0] / 16, dtype=torch.float32)
    squares = ink.repeat_interleave(3, 0).repeat_interleave(3, 1).expand(3, 24, 24)
    torch.testing.assert_close(pixels, squares, rtol=0, atol=0.51 / 255)


def test_other_sizes_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["images", "--output", str(tmp_path), "--size", "20"]) == 2
    assert "not a multiple of the digits' 8 pixels" in capsys.readouterr().err
