"""Two blocks of any network may be whole at a time: the one that computes and the next."""

from __future__ import annotations

import pytest

from sid_trainer.engine.gather_sizes import KEPT, with_gather_sizes

PREFETCH = "stage3_prefetch_bucket_size"
LIVE = "stage3_max_live_parameters"
REUSE = "stage3_max_reuse_distance"


@pytest.mark.parametrize(
    ("largest", "live", "reuse"),
    [(340_000_000, 680_000_000, 0), (20_000_000, KEPT, 920_000_000), (1, KEPT, 2 * KEPT - 4)],
)
def test_the_next_block_fits_beside_the_one_at_work(largest: int, live: int, reuse: int) -> None:
    sizes = with_gather_sizes({}, largest)["zero_optimization"]
    assert sizes == {PREFETCH: largest, LIVE: live, REUSE: reuse}
    assert sizes[LIVE] >= sizes[REUSE] // 2 + largest + sizes[PREFETCH]


def test_what_is_given_is_left_alone() -> None:
    engine = {"steps_per_print": 3, "zero_optimization": {"stage": 3, PREFETCH: 7}}
    sized = with_gather_sizes(engine, 100)
    assert sized["steps_per_print"] == 3
    assert sized["zero_optimization"] == {
        "stage": 3,
        PREFETCH: 7,
        LIVE: KEPT,
        REUSE: 2 * KEPT - 400,
    }
    assert engine == {"steps_per_print": 3, "zero_optimization": {"stage": 3, PREFETCH: 7}}
