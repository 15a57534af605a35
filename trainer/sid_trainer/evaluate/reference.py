"""Statistics of the user's images, which those of the student are compared with.

Each rank reads its share of the images; features are summed up and never gathered. Images are made
square and brought to the run's resolution as those of data-aided training are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.data.images.pixels import square_pixels
from sid_trainer.data.images.sample import IMAGE_SUFFIXES
from sid_trainer.endpoint import Server
from sid_trainer.evaluate.judges import FeatureJudge
from sid_trainer.evaluate.pixels import to_uint8
from sid_trainer.evaluate.statistics import FeatureStatistics
from sid_trainer.models import fetch_file
from sid_trainer.storage import open_storage

CHUNK = 64
"""Images read before their features are taken."""
_STATISTICS = ".npz"


@dataclass(frozen=True)
class ImageFile:
    """An image that was not read yet.

    Attributes:
        name: for messages.
        version: changes whenever the content does.
        read: gives its bytes.
    """

    name: str
    version: str
    read: Callable[[], bytes]


def has_statistics(uri: str) -> bool:
    """Whether a reference is finished statistics, not images."""
    return uri.endswith(_STATISTICS)


def read_statistics(uri: str, endpoint: Server) -> FeatureStatistics:
    """Finished statistics.

    Raises:
        TrainerError: when they cannot be had or are none.
    """
    return FeatureStatistics.from_npz(fetch_file(uri, endpoint).read_bytes(), uri)


def image_files(uri: str, endpoint: Server) -> list[ImageFile]:
    """All images of a folder and of the folders in it, sorted by name.

    Raises:
        TrainerError: ``NotFound`` when there are fewer than two.
    """
    files = _stored(uri, endpoint) if uri.startswith("s3://") else _local(Path(uri))
    if len(files) < 2:
        raise TrainerError(
            FailureReason.NOT_FOUND,
            f"{uri} has {len(files)} images: give a folder of PNG, JPEG or WebP files",
        )
    return files


def add_images(judge: FeatureJudge, files: list[ImageFile], resolution: int) -> None:
    """Add the features of images, brought to a resolution.

    Raises:
        TrainerError: ``InvalidData`` naming an image that cannot be decoded.
    """
    for start in range(0, len(files), CHUNK):
        images = [_pixels(file, resolution) for file in files[start : start + CHUNK]]
        judge.add(torch.stack(images))


def _pixels(file: ImageFile, resolution: int) -> Tensor:
    return to_uint8(square_pixels(file.read(), resolution, file.name))


def _local(folder: Path) -> list[ImageFile]:
    paths = sorted(path for path in folder.rglob("*") if _is_image(path.name) and path.is_file())
    return [
        ImageFile(str(path), f"{path.stat().st_size}-{path.stat().st_mtime_ns}", path.read_bytes)
        for path in paths
    ]


def _stored(uri: str, endpoint: Server) -> list[ImageFile]:
    storage = open_storage(uri, endpoint)
    return [
        ImageFile(storage.uri(found.key), found.etag, partial(storage.get_bytes, found.key))
        for found in storage.list()
        if _is_image(found.key)
    ]


def _is_image(name: str) -> bool:
    return name.rpartition(".")[2].lower() in IMAGE_SUFFIXES
