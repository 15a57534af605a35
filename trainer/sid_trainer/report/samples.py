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
from dataclasses import dataclass

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
    storage: Storage,
    iteration: int,
    images: Tensor,
    captions: Sequence[str] | None = None,
    above: Above | None = None,
) -> str:
    """Store a grid of samples.

    Args:
        storage: the run's folder.
        iteration: finished iterations.
        images: ``[N, 3, H, W]`` in [0, 1]; values beyond are clipped.
        captions: a text below each image.
        above: what to compare them with.

    Returns:
        Where the picture is.
    """
    key = sample_key(iteration)
    storage.put_bytes(key, png(grid(images, captions, above=above)), "image/png")
    return storage.uri(key)


@dataclass(frozen=True)
class Above:
    """Pictures to stand above those of a grid, one for one.

    Attributes:
        images: ``[N, 3, H, W]`` in [0, 1].
        title: a line over the grid that says which are which.
    """

    images: Tensor
    title: str


def grid(
    images: Tensor,
    captions: Sequence[str] | None = None,
    columns: int | None = None,
    above: Above | None = None,
) -> Image.Image:
    """Images side by side, row by row.

    Args:
        images: ``[N, 3, H, W]`` in [0, 1].
        captions: a text below each image.
        columns: images a row; by default as many as make the sheet about square.
        above: other images of the same size, each of which is put above its counterpart.

    Raises:
        ValueError: when shapes or counts don't fit.
    """
    _check(images, captions, above)
    cells = _cells(images)
    if above is not None:
        cells = [_stacked(pair) for pair in zip(_cells(above.images), cells, strict=True)]
    width, height = cells[0].size
    layout = _Layout(
        width + _GAP,
        height + _GAP + (_CAPTION_LINES * _LINE if captions else 0),
        columns or min(len(cells), math.ceil(math.sqrt(len(cells) * height / width))),
        _LINE + _GAP if above is not None else 0,
    )
    sheet = Image.new("RGB", layout.size(len(cells)), _BACKGROUND)
    for index, cell in enumerate(cells):
        corner = layout.corner(index)
        sheet.paste(cell, corner)
        if captions:
            _caption(sheet, captions[index], (corner[0], corner[1] + height), width)
    if above is not None:
        _caption(sheet, above.title, (_GAP, _GAP // 2), sheet.width - 2 * _GAP, lines=1)
    return sheet


@dataclass(frozen=True)
class _Layout:
    """Where cells are, in pixels; ``top`` is kept free."""

    step_x: int
    step_y: int
    columns: int
    top: int

    def size(self, count: int) -> tuple[int, int]:
        rows = math.ceil(count / self.columns)
        return self.columns * self.step_x + _GAP, self.top + rows * self.step_y + _GAP

    def corner(self, index: int) -> tuple[int, int]:
        row, column = divmod(index, self.columns)
        return _GAP + column * self.step_x, self.top + _GAP + row * self.step_y


def _check(images: Tensor, captions: Sequence[str] | None, above: Above | None) -> None:
    if images.ndim != 4 or images.shape[1] != 3 or not len(images):
        raise ValueError(f"images are {list(images.shape)}, not [N, 3, H, W] with N > 0")
    if captions is not None and len(captions) != len(images):
        raise ValueError(f"{len(captions)} captions for {len(images)} images")
    if above is not None and above.images.shape != images.shape:
        raise ValueError(f"{list(above.images.shape)} stand above {list(images.shape)}")


def _stacked(pair: tuple[Image.Image, Image.Image]) -> Image.Image:
    """The second picture below the first."""
    first, second = pair
    both = Image.new("RGB", (first.width, first.height + second.height + 1), _BACKGROUND)
    both.paste(first, (0, 0))
    both.paste(second, (0, first.height + 1))
    return both


def png(image: Image.Image) -> bytes:
    """The picture as PNG."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _cells(images: Tensor) -> list[Image.Image]:
    return [_cell(image) for image in images]


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


def _caption(
    sheet: Image.Image,
    text: str,
    corner: tuple[int, int],
    width: int,
    lines: int = _CAPTION_LINES,
) -> None:
    """Write a text of a few lines at most, in the font that Pillow carries."""
    # The built-in font is about 6 pixels wide at this size and knows Latin letters.
    wrapped = textwrap.wrap(text, max(4, width // 6), max_lines=lines, placeholder="…")
    font = ImageFont.load_default(size=_LINE - 2)
    draw = ImageDraw.Draw(sheet)
    for number, line in enumerate(wrapped):
        draw.text((corner[0], corner[1] + number * _LINE), line, fill=_INK, font=font)
