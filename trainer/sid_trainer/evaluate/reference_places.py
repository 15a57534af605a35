"""Where the user's reference is: finished statistics, or images.

It is called before torch is loaded, so that what is not there is told in seconds.
"""

from __future__ import annotations

from sid_trainer.config.endpoint import Server
from sid_trainer.data.images.parts import ImagePart
from sid_trainer.data.images.places import find_parts
from sid_trainer.models.checking import check_file

_STATISTICS = ".npz"


def has_statistics(uri: str) -> bool:
    """Whether a reference is finished statistics, not images."""
    return uri.endswith(_STATISTICS)


def reference_parts(uri: str, endpoint: Server) -> list[ImagePart]:
    """The parts of a set of images, which need no captions.

    Raises:
        TrainerError: as :func:`~sid_trainer.data.images.places.find_parts`.
    """
    return find_parts(uri, endpoint, captioned=False)


def check_reference(uri: str, endpoint: Server) -> None:
    """Look whether a reference is there, by listings alone.

    Raises:
        TrainerError: naming what is missing or cannot be used.
    """
    if has_statistics(uri):
        check_file(uri, endpoint)
    else:
        reference_parts(uri, endpoint)
