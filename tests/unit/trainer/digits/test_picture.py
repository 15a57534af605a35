"""The grid of samples: enlarged without smoothing, clamped, in reading order."""

import torch

from sid_trainer.digits.picture import grid


def test_pixels_become_squares_in_reading_order() -> None:
    images = torch.full((3, 3, 8, 8), -1.0)
    images[1] = 0.0
    images[2] = 5.0  # out of range: white
    picture = grid(images, columns=2)
    assert picture.size == (2 * 9 * 6, 2 * 9 * 6)
    corners = [picture.getpixel((x, y)) for x, y in ((0, 0), (9 * 6, 0), (0, 9 * 6))]
    assert corners == [(0,) * 3, (128,) * 3, (255,) * 3]
    first_square = picture.crop((9 * 6, 0, 10 * 6, 6)).getcolors()
    assert first_square == [(36, (128,) * 3)]
