"""The samples of an evaluation, dealt out to the ranks."""

from __future__ import annotations

import pytest

from sid_trainer.evaluate.shares import chunks


@pytest.mark.parametrize("world", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [2, 21, 300])
def test_every_sample_is_judged_once_and_all_ranks_compute_alike(world: int, count: int) -> None:
    ranks = [list(chunks(count, world, rank, size=16)) for rank in range(world)]
    judged = [
        number for rank in ranks for chunk in rank for number in chunk.samples[: chunk.judged]
    ]
    assert sorted(judged) == list(range(count))
    assert len({tuple(len(chunk.samples) for chunk in rank) for rank in ranks}) == 1
    assert all(0 <= number < count for rank in ranks for chunk in rank for number in chunk.samples)
