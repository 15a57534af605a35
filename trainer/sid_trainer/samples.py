"""Sample grids: one picture that shows how the student draws by now.

Rules this module keeps:

* Pictures are judged by people: small images are enlarged without smoothing, so that each pixel of
  the model stays visible.
* Equal input gives an equal file.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from sid_trainer.storage import Storage

MIN_CELL = 96
"""Pixels that a cell is wide at least; an 8x8 digit is shown 12 times enlarged."""
MAX_CELL = 512
"""Pixels that a cell is wide at most; larger images are reduced."""
_GAP = 4
_LINE = 12
_CAPTION_LINES = 2
_BACKGROUND = (255, 255, 255)
_INK = (40, 40, 40)


def sample_key(iteration: int) -> str:
    """Key of the grid of an iteration, relative to the run's folder."""
    return f"samples/iter-{iteration:08d}.png"


def save_grid(
    storage: Storage, iteration: int, images: Tensor, captions: Sequence[str] | None = None
) -> str:
    """Store a grid of samples.

    Args:
        storage: the run's folder.
        iteration: finished iterations.
        images: ``[N, 3, H, W]`` in [0, 1]; values beyond are clipped.
        captions: a text below each image.

    Returns:
        Where the picture is.
    """
    key = sample_key(iteration)
    storage.put_bytes(key, png(grid(images, captions)), "image/png")
    return storage.uri(key)


def grid(
    images: Tensor, captions: Sequence[str] | None = None, columns: int | None = None
) -> Image.Image:
    """Images side by side, row by row.

    Args:
        images: ``[N, 3, H, W]`` in [0, 1].
        captions: a text below each image.
        columns: images a row; about as many as rows by default.

    Raises:
        ValueError: when shapes or counts don't fit.
    """
    if images.ndim != 4 or images.shape[1] != 3 or not len(images):
        raise ValueError(f"images are {list(images.shape)}, not [N, 3, H, W] with N > 0")
    if captions is not None and len(captions) != len(images):
        raise ValueError(f"{len(captions)} captions for {len(images)} images")
    cells = [_cell(image) for image in images]
    width, height = cells[0].size
    step_x = width + _GAP
    step_y = height + _GAP + (_CAPTION_LINES * _LINE if captions else 0)
    columns = columns or math.ceil(math.sqrt(len(cells)))
    rows = math.ceil(len(cells) / columns)
    sheet = Image.new("RGB", (columns * step_x + _GAP, rows * step_y + _GAP), _BACKGROUND)
    for index, cell in enumerate(cells):
        row, column = divmod(index, columns)
        corner = (_GAP + column * step_x, _GAP + row * step_y)
        sheet.paste(cell, corner)
        if captions:
            _caption(sheet, captions[index], (corner[0], corner[1] + height), width)
    return sheet


def png(image: Image.Image) -> bytes:
    """The picture as PNG."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _cell(image: Tensor) -> Image.Image:
    """One image ``[3, H, W]``, enlarged by a whole factor or reduced to fit."""
    array = (image.detach().float().clamp(0, 1) * 255).round().byte().cpu()
    picture = Image.fromarray(np.ascontiguousarray(array.permute(1, 2, 0).numpy()))
    longest = max(picture.size)
    if longest < MIN_CELL:
        factor = math.ceil(MIN_CELL / longest)
        size = (picture.width * factor, picture.height * factor)
        return picture.resize(size, Image.Resampling.NEAREST)
    if longest > MAX_CELL:
        picture.thumbnail((MAX_CELL, MAX_CELL), Image.Resampling.LANCZOS)
    return picture


def _caption(sheet: Image.Image, text: str, corner: tuple[int, int], width: int) -> None:
    """Write a caption of two lines at most, in the font that Pillow carries."""
    # The built-in font is about 6 pixels wide at this size and knows Latin letters.
    lines = textwrap.wrap(text, max(4, width // 6), max_lines=_CAPTION_LINES, placeholder="…")
    font = ImageFont.load_default(size=_LINE - 2)
    draw = ImageDraw.Draw(sheet)
    for number, line in enumerate(lines):
        draw.text((corner[0], corner[1] + number * _LINE), line, fill=_INK, font=font)
