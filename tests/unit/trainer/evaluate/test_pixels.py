"""Pixels as a file has them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sid_trainer.evaluate.pixels import decoded, to_uint8


def test_pixels_are_rounded_as_in_a_file() -> None:
    assert to_uint8(torch.tensor([-0.1, 0.0, 0.499 / 255, 0.501 / 255, 1.2])).tolist() == [
        0,
        0,
        0,
        1,
        255,
    ]


class Decoder:
    """Stands for a teacher whose VAE gives the latents as they are."""

    def decode(self, latents: Tensor) -> Tensor:
        return latents.clamp(0, 1)


def test_images_with_pixels_that_are_no_numbers_are_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    images = torch.full((18, 3, 2, 2), 0.5)
    images[1, 0, 0, 0] = images[17, 2, 1, 1] = float("nan")
    teacher: Any = Decoder()
    found = decoded(teacher, images)
    assert found[1, 0].tolist() == [[0, 128], [128, 128]]
    assert found[17, 2].tolist() == [[128, 128], [128, 0]]
    (told,) = (record.getMessage() for record in caplog.records)
    assert told.startswith("the VAE gave no numbers (NaN) for 2 of 18 images")


def test_nothing_is_told_of_sound_images(caplog: pytest.LogCaptureFixture) -> None:
    teacher: Any = Decoder()
    decoded(teacher, torch.rand(3, 3, 2, 2))
    assert not caplog.records
