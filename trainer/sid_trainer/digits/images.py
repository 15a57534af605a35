"""The digits as a data set: WebDataset shards of images with captions, the same every time."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from sid_trainer.digits.prompts import prompts_of

SHARDS = 4
_MAX_INK = 16.0


def write_shards(folder: Path, size: int) -> list[Path]:
    """Write all 1,797 digits with captions to ``digits-0.tar`` and further shards.

    Args:
        folder: where to; it is made.
        size: height and width in pixels, a multiple of 8; each of the digits' 8x8 pixels becomes a
            square.

    Raises:
        ValueError: when the size is no multiple of 8.
    """
    if size < 8 or size % 8:
        raise ValueError(f"size {size} is not a multiple of the digits' 8 pixels: use 8, 16, ...")
    folder.mkdir(parents=True, exist_ok=True)
    samples = list(_samples(size))
    paths = [folder / f"digits-{number}.tar" for number in range(SHARDS)]
    for number, path in enumerate(paths):
        with tarfile.open(path, "w") as archive:
            for name, image, caption in samples[number::SHARDS]:
                _add(archive, f"{name}.png", image)
                _add(archive, f"{name}.txt", caption)
    return paths


def _samples(size: int) -> Iterator[tuple[str, bytes, bytes]]:
    """Name, PNG and caption of each digit; captions take turns."""
    digits = load_digits()
    for number, (ink, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        grey = Image.fromarray((ink / _MAX_INK * 255).round().astype(np.uint8))
        buffer = io.BytesIO()
        grey.resize((size, size), Image.Resampling.NEAREST).save(buffer, "PNG")
        captions = prompts_of(int(label))
        caption = captions[number // 10 % len(captions)]
        yield f"{number:04}", buffer.getvalue(), caption.encode()


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))
