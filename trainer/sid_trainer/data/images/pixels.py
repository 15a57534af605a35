"""From an image file to a square of pixels: never distorted, enlarged only as far as allowed.

Rules this module keeps:

* The middle square of the image, as long as its shorter side, is scaled to the resolution in one
  step with antialiasing (Lanczos): both axes by the same factor.
* EXIF orientation is obeyed, transparency lies on white, all colour modes become RGB. Embedded
  colour profiles are not applied.
* What cannot be read is told with the file's name and the remedy.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from sid_trainer.data.images.sample import bad_data

_FORMATS = ("JPEG", "PNG", "WEBP")
_REMEDY = "replace it by a whole JPEG, PNG or WebP image, or remove it"
_WHITE = (255, 255, 255, 255)


def checked_side(data: bytes, name: str) -> int:
    """Shorter side of an image in pixels, after a look whether all of it can be decoded.

    Raises:
        TrainerError: ``InvalidData`` when it cannot, or is of no known format.
    """
    with _decoder_errors(name), Image.open(io.BytesIO(data), formats=_FORMATS) as image:
        side = min(image.size)
        image.draft("RGB", (1, 1))  # all of a JPEG is read, an eighth of its pixels made
        image.load()
    return side


def square_pixels(data: bytes, resolution: int, name: str) -> Tensor:
    """Pixels ``[3, H, W]`` in [0, 1], fp32, of the middle of an image.

    Args:
        data: the image file.
        resolution: H and W.
        name: the file, for messages.

    Raises:
        TrainerError: ``InvalidData`` when the image cannot be decoded.
    """
    with _decoder_errors(name), Image.open(io.BytesIO(data), formats=_FORMATS) as image:
        image.load()
        picture = square(rgb(ImageOps.exif_transpose(image)), resolution)
    pixels = torch.from_numpy(np.array(picture, dtype=np.float32) / 255.0)
    return pixels.permute(2, 0, 1).contiguous()


def rgb(image: Image.Image) -> Image.Image:
    """The image in RGB, on white where it is transparent."""
    if image.mode.startswith("I"):  # 16 bits a pixel, which Pillow would clip rather than scale
        image = Image.fromarray((np.asarray(image, dtype=np.int32) // 257).astype(np.uint8))
    if not image.has_transparency_data:
        return image.convert("RGB")
    front = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", front.size, _WHITE), front).convert("RGB")


def square(image: Image.Image, resolution: int) -> Image.Image:
    """The middle square of an RGB image, scaled to ``resolution``."""
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    return image.resize(
        (resolution, resolution),
        Image.Resampling.LANCZOS,
        box=(left, top, left + side, top + side),
    )


@contextmanager
def _decoder_errors(name: str) -> Iterator[None]:
    """Turn whatever a decoder says of a bad file into an error that names the file."""
    try:
        yield
    except MemoryError:
        raise
    except (Image.DecompressionBombError, UnidentifiedImageError) as error:
        raise bad_data(name, f"is not a usable image ({_gist(error)})", _REMEDY) from error
    except Exception as error:
        # Decoders raise what their libraries do: OSError, SyntaxError, ValueError, struct.error.
        raise bad_data(name, f"cannot be decoded ({_gist(error)})", _REMEDY) from error


def _gist(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "no JPEG, PNG or WebP"  # its own text names an object in memory
    return str(error) or type(error).__name__
