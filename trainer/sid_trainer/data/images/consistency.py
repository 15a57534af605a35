"""The same images everywhere and at every time: on all ranks, and in all attempts of a run."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.data.images.count import Count
from sid_trainer.data.images.parts import ImagePart
from sid_trainer.process.group import ProcessGroup

META = "images"
"""Name of the images' checksum among the facts of a checkpoint."""

logger = logging.getLogger(__name__)


class Fingerprinted(Protocol):
    """What has a checksum."""

    @property
    def fingerprint(self) -> str:
        """The checksum."""


def fingerprint(parts: Sequence[ImagePart], counts: Sequence[Count]) -> str:
    """Checksum of what decides which image is at which place."""
    facts = [(part.name, count.usable) for part, count in zip(parts, counts, strict=True)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def require_same_parts(group: ProcessGroup, parts: Sequence[ImagePart]) -> None:
    """Raise on every rank when nodes see different parts; a collective.

    Raises:
        TrainerError: ``StorageUnavailable``, because another start may find the files at rest.
    """
    names = hashlib.sha256(json.dumps([part.name for part in parts]).encode()).hexdigest()
    if len(set(group.all_gather(names))) > 1:
        raise TrainerError(
            FailureReason.STORAGE_UNAVAILABLE,
            "the images are not the same on all nodes: mount the same volume in every pod, and "
            "leave its files as they are",
        )


def tell_other_images(meta: Mapping[str, Any], images: Fingerprinted | None) -> None:
    """Warn when a checkpoint was made with other images: the run goes on, with the new ones."""
    if images is not None and meta.get(META, images.fingerprint) != images.fingerprint:
        logger.warning(
            "data.images.uri holds other images than when the checkpoint was made: training goes "
            "on with the new ones, in an order of their own"
        )
