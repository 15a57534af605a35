"""Real images, dealt out to the ranks."""

from __future__ import annotations

from sid_trainer.data.images.parts import LocalShard, Part
from sid_trainer.evaluate.reference import share


def test_a_few_parts_are_shared_by_all_ranks_and_many_are_dealt_out() -> None:
    for count, world in ((1, 1), (1, 8), (3, 8), (8, 8), (9, 8), (20, 3)):
        parts: list[Part] = [LocalShard(str(number), "") for number in range(count)]
        read = [
            (part.name, sample)
            for rank in range(world)
            for part, which in share(parts, rank, world)
            for sample in range(20)[which]
        ]
        assert sorted(read) == sorted((part.name, n) for part in parts for n in range(20))
