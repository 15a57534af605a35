"""How many images a part of a data set has for us."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Count:
    """What a part has.

    Attributes:
        images: images with a caption.
        too_small: which of them, by number in the part, are left out as too small.
        without_image: samples left out because they have no image.
    """

    images: int
    too_small: tuple[int, ...]
    without_image: int

    @property
    def usable(self) -> int:
        """Images to train on."""
        return self.images - len(self.too_small)

    def sample(self, number: int) -> int:
        """Number in the part of its usable image ``number``."""
        for left_out in self.too_small:
            if left_out > number:
                break
            number += 1
        return number
