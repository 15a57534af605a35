"""Which rank samples which images of an evaluation.

Rules this module keeps:

* Every rank computes as many images in as many forwards, which ZeRO-3 needs; those beyond the
  asked number are computed in vain and not judged.
* An image's caption and noise depend on its number alone, not on the number of ranks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

CHUNK = 128
"""Images that a rank samples before it decodes and judges them: 400 MB in host memory at 1024²."""


@dataclass(frozen=True)
class Chunk:
    """Images that a rank makes at a time.

    Attributes:
        samples: their numbers.
        judged: how many of the first ones count.
    """

    samples: list[int]
    judged: int


def chunks(count: int, world_size: int, rank: int, size: int = CHUNK) -> Iterator[Chunk]:
    """This rank's part of ``count`` images; every rank has as many chunks of the same sizes.

    Args:
        count: images over all ranks.
        world_size: number of ranks.
        rank: this one.
        size: images of a chunk at most.
    """
    share = -(-count // world_size)
    for start in range(0, share, size):
        first = rank * share + start
        numbers = range(first, first + min(size, share - start))
        yield Chunk(
            [number % count for number in numbers], sum(number < count for number in numbers)
        )
