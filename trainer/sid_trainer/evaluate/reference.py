"""Statistics of the user's images, which those of the student are compared with.

Each rank reads its share of the images; features are summed up and never gathered. Images are made
square and brought to the run's resolution as those of data-aided training are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from sid_trainer.config.endpoint import Server
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.data.images.parts import ImagePart, opened
from sid_trainer.data.images.pixels import square_pixels
from sid_trainer.evaluate.judges import FeatureJudge
from sid_trainer.evaluate.kept import file_digest
from sid_trainer.evaluate.pixels import to_uint8
from sid_trainer.evaluate.statistics import FeatureStatistics
from sid_trainer.models.fetching import fetch_file

CHUNK = 64
"""Images read before their features are taken."""


def read_statistics(uri: str, endpoint: Server) -> FeatureStatistics:
    """Finished statistics.

    Raises:
        TrainerError: when they cannot be had or are none.
    """
    statistics = FeatureStatistics.from_npz(fetch_file(uri, endpoint).read_bytes(), uri)
    if not statistics.is_finite:
        raise TrainerError(
            FailureReason.INVALID_DATA,
            f"{uri} has NaN or infinity in mu or sigma: no distance to it is a number; make it "
            "anew, or give images",
        )
    return statistics


def digest_of(uri: str, endpoint: Server) -> str:
    """Checksum of the file of finished statistics.

    Raises:
        TrainerError: when it cannot be had.
    """
    return file_digest(fetch_file(uri, endpoint))


def share(parts: Sequence[ImagePart], rank: int, world: int) -> list[tuple[ImagePart, slice]]:
    """Which samples of which parts a rank reads: whole parts, or its share of each of a few."""
    if len(parts) >= world:
        return [(part, slice(None)) for part in parts[rank::world]]
    return [(part, slice(rank, None, world)) for part in parts]


def add_images(
    judge: FeatureJudge,
    shares: Sequence[tuple[ImagePart, slice]],
    resolution: int,
    alive: Callable[[], None] = lambda: None,
) -> None:
    """Add the features of images, brought to a resolution.

    Args:
        judge: of their distribution.
        shares: as :func:`share` gives them.
        resolution: height and width in pixels.
        alive: told after each chunk.

    Raises:
        TrainerError: ``InvalidData`` naming an image that cannot be decoded.
    """
    for part, which in shares:
        with opened(part) as found:
            samples = found.samples[which]
            for start in range(0, len(samples), CHUNK):
                pixels = [
                    to_uint8(square_pixels(sample.image(), resolution, sample.name))
                    for sample in samples[start : start + CHUNK]
                ]
                judge.add(torch.stack(pixels))
                alive()
