"""How a large object is cut into the parts that an S3 server takes: a pure calculation.

The limits are the protocol's (https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html):
at most 10,000 parts, each but the last of at least 5 MiB and at most 5 GiB, 5 TiB in all.
"""

from __future__ import annotations

from typing import NamedTuple

MIB = 2**20
MIN_PART_BYTES = 5 * MIB
MAX_PART_BYTES = 5 * 2**30
MAX_PARTS = 10_000
MAX_OBJECT_BYTES = 5 * 2**40
PART_BYTES = 32 * MIB
"""Size of a part: large enough for full speed, small enough to send again; 312 GiB in 10,000."""


class PartOf(NamedTuple):
    """One part: its number, from 1, and its length in bytes."""

    number: int
    length: int


def part_bytes(size: int) -> int:
    """Length of the parts of an object of ``size`` bytes: whole MiB, the last may be shorter.

    Raises:
        ValueError: the object is larger than any that S3 takes.
    """
    if size > MAX_OBJECT_BYTES:
        raise ValueError(
            f"an object of {size} bytes is larger than the {MAX_OBJECT_BYTES} (5 TiB) that S3 "
            "takes: train on more ranks, so that each has less to store"
        )
    smallest = -(-size // MAX_PARTS)
    return max(PART_BYTES, -(-smallest // MIB) * MIB)


def parts_of(size: int) -> list[PartOf]:
    """The parts of an object, in order; one of length 0 for an empty object."""
    length = part_bytes(size)
    count = max(1, -(-size // length))
    whole = [PartOf(number, length) for number in range(1, count)]
    return [*whole, PartOf(count, size - length * (count - 1))]
