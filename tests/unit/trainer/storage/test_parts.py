"""Large objects within S3's limits."""

from __future__ import annotations

import pytest

from sid_trainer.storage.parts import (
    MAX_OBJECT_BYTES,
    MAX_PART_BYTES,
    MAX_PARTS,
    MIN_PART_BYTES,
    PART_BYTES,
    part_bytes,
    parts_of,
)

GIB = 2**30
SIZES = [
    PART_BYTES + 1,
    2 * PART_BYTES,
    MAX_PARTS * PART_BYTES,
    MAX_PARTS * PART_BYTES + 1,
    313 * GIB,
    1024 * GIB + 12345,
    MAX_OBJECT_BYTES - 1,
    MAX_OBJECT_BYTES,
]


@pytest.mark.parametrize("size", SIZES)
def test_parts_are_the_whole_object_within_the_limits(size: int) -> None:
    parts = parts_of(size)
    assert sum(part.length for part in parts) == size
    assert [part.number for part in parts] == list(range(1, len(parts) + 1))
    assert len(parts) <= 10_000
    assert {part.length for part in parts[:-1]} == {part_bytes(size)}
    assert MIN_PART_BYTES <= part_bytes(size) <= MAX_PART_BYTES
    assert 0 < parts[-1].length <= part_bytes(size)


def test_a_part_grows_with_the_object_only_where_it_must() -> None:
    assert part_bytes(1) == part_bytes(MAX_PARTS * PART_BYTES) == 32 * 2**20
    assert part_bytes(MAX_PARTS * PART_BYTES + 1) == 33 * 2**20
    assert part_bytes(MAX_OBJECT_BYTES) == 525 * 2**20


def test_small_objects_are_one_part() -> None:
    assert parts_of(0) == [(1, 0)]
    assert parts_of(PART_BYTES) == [(1, PART_BYTES)]


def test_what_s3_does_not_take_is_told() -> None:
    with pytest.raises(ValueError, match="train on more ranks"):
        part_bytes(MAX_OBJECT_BYTES + 1)
