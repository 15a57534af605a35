"""One look through the whole data set before training: how many images each part has for us.

Each rank looks through some of the parts: a shard must be whole, and every image must have a
caption that is not empty and must be decodable to its end. So bad data are told before the first
iteration rather than after days. What was found is kept in the run's storage, so that a later
attempt need not look again; it is looked up by the parts' names and versions, so that changed data
are looked through anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

from sid_trainer.data.images.consistency import require_same_parts
from sid_trainer.data.images.count import Count
from sid_trainer.data.images.parts import ImagePart, opened
from sid_trainer.data.images.pixels import checked_side
from sid_trainer.data.images.sample import Sample, bad_data
from sid_trainer.process.group import ProcessGroup, from_first, together
from sid_trainer.storage import Storage

THREADS = 8
"""Files that a rank reads at a time."""

logger = logging.getLogger(__name__)


def smallest_side(resolution: int, max_enlargement: float) -> int:
    """Pixels that the shorter side of an image must have at least."""
    return math.ceil(resolution / max_enlargement)


def take_census(
    parts: Sequence[ImagePart], smallest: int, group: ProcessGroup, storage: Storage
) -> list[Count]:
    """Look through all parts, or recall what an earlier attempt found; a collective.

    Args:
        parts: the data set, the same on all ranks.
        smallest: pixels that the shorter side of a usable image has at least.
        group: the ranks of the run.
        storage: where the run writes.

    Raises:
        TrainerError: on all ranks; ``InvalidData`` naming the first file that is bad, or when no
            image is usable; as :func:`require_same_parts`.
    """
    require_same_parts(group, parts)
    key = f"data/images-{_digest(parts, smallest)}.json"
    counts = from_first(group, lambda: _recalled(storage, key))
    if counts is None:
        counts = _looked_through(parts, smallest, group)
        found = json.dumps([asdict(count) for count in counts]).encode()
        from_first(group, lambda: storage.put_bytes(key, found, "application/json"))
    if group.rank == 0:
        _tell(parts, counts, smallest)
    if not sum(count.usable for count in counts):
        raise bad_data(
            parts[0].name,
            f"and what is beside it have no image of at least {smallest} pixels",
            "give larger images, lower data.resolution or raise data.images.maxEnlargement",
        )
    return counts


def examine(part: ImagePart, smallest: int) -> Count:
    """Look through one part.

    Raises:
        TrainerError: ``InvalidData`` naming the first file that is bad.
    """
    with opened(part) as found, ThreadPoolExecutor(THREADS) as pool:
        sides = list(pool.map(_side, found.samples))
    too_small = tuple(number for number, side in enumerate(sides) if side < smallest)
    return Count(len(sides), too_small, found.without_image)


def _side(sample: Sample) -> int:
    sample.caption()
    return checked_side(sample.image(), sample.name)


def _looked_through(parts: Sequence[ImagePart], smallest: int, group: ProcessGroup) -> list[Count]:
    if group.rank == 0:
        logger.info("looking through %d parts of data.images", len(parts))
    own = range(group.rank, len(parts), group.world_size)
    found = together(group, lambda: [(at, examine(parts[at], smallest)) for at in own])
    by_part = dict(pair for pairs in found for pair in pairs)
    return [by_part[at] for at in range(len(parts))]


def _recalled(storage: Storage, key: str) -> list[Count] | None:
    if not storage.exists(key):
        return None
    found = json.loads(storage.get_bytes(key))
    return [Count(**count | {"too_small": tuple(count["too_small"])}) for count in found]


def _tell(parts: Sequence[ImagePart], counts: Sequence[Count], smallest: int) -> None:
    usable = sum(count.usable for count in counts)
    logger.info("data.images: %d images in %d parts", usable, len(parts))
    small = sum(len(count.too_small) for count in counts)
    if small:
        logger.warning(
            "data.images: %d of %d images are left out, as their shorter side has less than %d "
            "pixels; data.images.maxEnlargement lets smaller ones in",
            small,
            usable + small,
            smallest,
        )
    imageless = sum(count.without_image for count in counts)
    if imageless:
        logger.warning("data.images: %d samples without an image are left out", imageless)


def _digest(parts: Sequence[ImagePart], smallest: int) -> str:
    versions = [smallest, [(part.name, part.version) for part in parts]]
    return hashlib.sha256(json.dumps(versions).encode()).hexdigest()[:24]
