"""From the settings of a run to its real images."""

from __future__ import annotations

from collections.abc import Sequence

from sid_trainer.config import RunConfig
from sid_trainer.data.encoding import Encode
from sid_trainer.data.images.census import smallest_side, take_census
from sid_trainer.data.images.latents import PartReader, RealImages
from sid_trainer.data.images.order import ImageOrder
from sid_trainer.data.images.parts import ImagePart
from sid_trainer.process.failures import naming
from sid_trainer.process.group import ProcessGroup
from sid_trainer.storage import Storage
from sid_trainer.teachers import Teacher


def open_images(
    config: RunConfig,
    parts: Sequence[ImagePart] | None,
    teacher: Teacher,
    encode: Encode,
    samples: Sequence[int],
    group: ProcessGroup,
    storage: Storage,
) -> RealImages | None:
    """Look through the data set, and make it ready to be read; a collective.

    Args:
        config: the run.
        parts: of :func:`~sid_trainer.data.images.places.needed_parts`.
        teacher: whose autoencoder is used.
        encode: its text encoders.
        samples: this rank's places in the global batch.
        group: the ranks of the run.
        storage: where the run writes.

    Raises:
        TrainerError: as :func:`~sid_trainer.data.images.census.take_census`, with the field.
    """
    if parts is None or config.data.images is None:
        return None
    resolution = teacher.resolution(config.data.resolution)
    smallest = smallest_side(resolution, config.data.images.max_enlargement)
    with naming("data.images.uri"):
        counts = take_census(parts, smallest, group, storage)
    training = config.training
    order = ImageOrder([count.usable for count in counts], training.batch_size, training.seed)
    reader = PartReader(parts, counts)
    return RealImages(reader, order, samples, teacher, encode, resolution, group)
