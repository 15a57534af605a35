"""Geometry, colour modes and bad files, against values found by hand."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.data.images.pixels import checked_side, square_pixels

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def stripes(width: int, height: int, *colours: tuple[int, int, int]) -> Image.Image:
    """Equally wide columns, one of each colour."""
    image = Image.new("RGB", (width, height))
    each = width // len(colours)
    for number, colour in enumerate(colours):
        image.paste(colour, (number * each, 0, (number + 1) * each, height))
    return image


def colour_at(pixels: torch.Tensor, row: int, column: int) -> tuple[float, ...]:
    return tuple(round(float(value) * 255) for value in pixels[:, row, column])


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_pixels_of_an_image_of_the_resolution_are_its_own(kind: str) -> None:
    values = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(values), kind, lossless=True)
    pixels = square_pixels(data, 8, "a")
    assert pixels.shape == (3, 8, 8)
    assert pixels.dtype == torch.float32
    torch.testing.assert_close(pixels, torch.tensor(values).permute(2, 0, 1) / 255)


def test_only_the_middle_square_is_kept() -> None:
    wide = stripes(24, 8, RED, GREEN, BLUE)
    for image in (wide, wide.rotate(90, expand=True)):
        pixels = square_pixels(encoded(image), 8, "a")
        assert {colour_at(pixels, r, c) for r in range(8) for c in range(8)} == {GREEN}


def test_an_odd_margin_is_halved() -> None:
    """Of 9 columns 8 are kept: half a column falls off at each side."""
    image = Image.new("L", (9, 8))
    image.paste(255, (4, 0, 5, 8))  # the middle column
    row = square_pixels(encoded(image), 8, "a")[0, 0]
    torch.testing.assert_close(row, row.flip(0), rtol=0, atol=1 / 255)
    assert row[3] > 0.3


def test_nothing_is_distorted() -> None:
    """A disc stays one: its extent is the same along both axes."""
    size, radius = 200, 60
    y, x = np.mgrid[:size, : 2 * size]
    disc = ((x - size + 0.5) ** 2 + (y - size / 2 + 0.5) ** 2 < radius**2) * 255
    pixels = square_pixels(encoded(Image.fromarray(disc.astype(np.uint8))), 50, "a")[0]
    wide, high = pixels.sum(1).max(), pixels.sum(0).max()
    assert wide == pytest.approx(2 * radius / 4, abs=0.5)
    assert high == pytest.approx(float(wide), abs=0.05)


def test_scaling_down_is_antialiased() -> None:
    """Single-pixel columns become grey rather than one of the two colours."""
    image = stripes(64, 64, *[(0, 0, 0), WHITE] * 32)
    pixels = square_pixels(encoded(image), 8, "a")
    assert float((pixels - 0.5).abs().max()) < 0.05


def test_it_is_resizing_by_the_checked_side_and_cropping() -> None:
    """Against the two steps apart, where these round nothing."""
    values = np.random.default_rng(2).integers(0, 256, (32, 64, 3), dtype=np.uint8)
    image = Image.fromarray(values)
    apart = image.resize((32, 16), Image.Resampling.LANCZOS).crop((8, 0, 24, 16))
    expected = torch.tensor(np.array(apart)).permute(2, 0, 1) / 255
    together = square_pixels(encoded(image), 16, "a")
    torch.testing.assert_close(together, expected, rtol=0, atol=1.01 / 255)


def test_the_cameras_orientation_is_obeyed() -> None:
    image = stripes(16, 16, RED, BLUE)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise: left becomes top
    pixels = square_pixels(encoded(image, exif=exif.tobytes()), 16, "a")
    assert colour_at(pixels, 2, 8) == RED
    assert colour_at(pixels, 13, 8) == BLUE


def transparent_palette() -> Image.Image:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([10, 20, 30, *RED])
    image.info["transparency"] = 0
    return image


@pytest.mark.parametrize(
    ("image", "colour"),
    [
        (Image.new("L", (4, 4), 51), (51, 51, 51)),
        (Image.new("1", (4, 4), 1), WHITE),
        (Image.new("LA", (4, 4), (0, 0)), WHITE),
        (Image.new("RGBA", (4, 4), (*RED, 0)), WHITE),
        (Image.new("RGBA", (4, 4), (0, 0, 0, 51)), (204, 204, 204)),
        (transparent_palette(), WHITE),
        (Image.fromarray(np.full((4, 4), 51 * 257, np.uint16)), (51, 51, 51)),
    ],
    ids=["grey", "bits", "grey-alpha", "transparent", "translucent", "palette", "16-bit"],
)
def test_colour_modes(image: Image.Image, colour: tuple[int, int, int]) -> None:
    assert colour_at(square_pixels(encoded(image), 4, "a"), 1, 1) == colour


def test_cmyk_becomes_rgb() -> None:
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    pixels = square_pixels(encoded(cyan, "JPEG", quality=100), 16, "a")
    assert colour_at(pixels, 8, 8) == (0, 255, 255)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_the_smaller_side_is_that_of_the_whole_image(kind: str) -> None:
    assert checked_side(encoded(stripes(72, 40, RED, GREEN, BLUE), kind), "a") == 40


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("left", [0, 3, 0.5])
def test_a_damaged_image_is_told_by_name(kind: str, left: float) -> None:
    values = np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    whole = encoded(Image.fromarray(values), kind)
    cut = whole[: left if isinstance(left, int) else int(left * len(whole))]
    for read in (checked_side, lambda data, name: square_pixels(data, 8, name)):
        with pytest.raises(TrainerError, match=r"^shard\.tar: a\.img .*replace it") as caught:
            read(cut, "shard.tar: a.img")
        assert caught.value.reason is FailureReason.INVALID_DATA


def test_other_formats_are_no_images() -> None:
    data = encoded(Image.new("RGB", (4, 4)), "GIF")
    with pytest.raises(TrainerError, match="no JPEG, PNG or WebP"):
        checked_side(data, "a.jpg")
