"""What a feature extractor sees of a generated picture and of a smaller photograph."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sid_trainer.data.images.pixels import square_pixels
from sid_trainer.evaluate.extractor import resized
from sid_trainer.evaluate.pixels import to_uint8


def scene(side: int) -> Image.Image:
    """A picture with the spectrum of photographs, 1/f."""
    frequencies = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None])
    frequencies[0, 0] = 1
    white = np.fft.fft2(np.random.default_rng(0).standard_normal((3, side, side)))
    pink = np.fft.ifft2(white / frequencies).real
    pixels = np.clip(pink / pink.std() * 45 + 128, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels.transpose(1, 2, 0))


def detail(pixels: Tensor) -> float:
    """Energy in the upper half of the band, as Inception gets the picture: bilinear to 299."""
    seen = torch.nn.functional.interpolate(pixels, (299, 299), mode="bilinear").mean((0, 1))
    spectrum = torch.fft.fft2((seen - seen.mean()).double()).abs().square()
    frequencies = torch.fft.fftfreq(299).abs()
    return float(spectrum[torch.maximum(frequencies[:, None], frequencies[None]) > 0.25].sum())


def test_a_smaller_photograph_compares_with_a_picture_at_an_image_size_below_both() -> None:
    made = scene(1024)
    buffer = io.BytesIO()
    made.resize((480, 480), Image.Resampling.LANCZOS).save(buffer, "PNG")
    enlarged = to_uint8(square_pixels(buffer.getvalue(), 1024, "photograph"))[None].float()
    picture = torch.from_numpy(np.array(made)).permute(2, 0, 1)[None].float()
    assert detail(picture) > 1.3 * detail(enlarged)
    ratio = detail(resized(picture, 256)) / detail(resized(enlarged, 256))
    assert 0.9 < ratio < 1.0
