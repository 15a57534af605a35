"""The order of images: every image once an epoch, whatever the ranks and the place of resuming."""

from __future__ import annotations

from collections import Counter
from itertools import chain, pairwise

from sid_trainer.data.images.census import smallest_side
from sid_trainer.data.images.count import Count
from sid_trainer.data.images.order import WINDOW, ImageOrder

COUNTS = [3, 0, 5, 1] * 6  # three windows of 8 parts
TOTAL = sum(COUNTS)


def epoch(order: ImageOrder, number: int = 0) -> list[tuple[int, int]]:
    """All places of an epoch, with batches of one."""
    return [order.places(number * TOTAL + at, [0])[0] for at in range(TOTAL)]


def test_an_epoch_has_every_image_once() -> None:
    every = {(part, image) for part, count in enumerate(COUNTS) for image in range(count)}
    order = ImageOrder(COUNTS, 1, seed=1)
    for number in range(3):
        places = epoch(order, number)
        assert len(places) == TOTAL
        assert set(places) == every


def test_seed_and_epoch_change_the_order() -> None:
    order = ImageOrder(COUNTS, 1, seed=1)
    first, second = epoch(order), epoch(order, 1)
    assert first != second
    assert first != epoch(ImageOrder(COUNTS, 1, seed=2))
    assert first == epoch(ImageOrder(COUNTS, 1, seed=1))


def test_images_are_shuffled_across_the_parts_of_a_window() -> None:
    parts = [part for part, _ in epoch(ImageOrder(COUNTS, 1, seed=1))]
    changes = sum(one != other for one, other in pairwise(parts))
    assert changes > len(parts) / 2


def test_neither_ranks_nor_resuming_matter() -> None:
    whole = ImageOrder(COUNTS, 12, seed=4)
    for iteration in (0, 7, 30, 3):
        places = whole.places(iteration, range(12))
        for world in (2, 3):
            share = 12 // world
            parts = [
                ImageOrder(COUNTS, 12, seed=4).places(
                    iteration, range(rank * share, (rank + 1) * share)
                )
                for rank in range(world)
            ]
            assert list(chain.from_iterable(parts)) == places


def test_batches_follow_one_another() -> None:
    order = ImageOrder(COUNTS, 5, seed=4)
    batches = [place for at in range(20) for place in order.places(at, range(5))]
    expected = epoch(ImageOrder(COUNTS, 1, seed=4)) + epoch(ImageOrder(COUNTS, 1, seed=4), 1)
    assert batches == expected[:100]


def test_parts_name_all_that_any_rank_needs_and_not_many_more() -> None:
    order = ImageOrder(COUNTS, 6, seed=9)
    for start in range(0, 40, 3):
        iterations = range(start, start + 3)
        used = {part for at in iterations for part, _ in order.places(at, range(6))}
        needed = order.parts(iterations)
        assert used <= needed
        assert len(needed) <= 3 * WINDOW
    assert len(order.parts(range(1))) == WINDOW


def test_left_out_images_are_passed_over() -> None:
    count = Count(images=6, too_small=(0, 2, 3), without_image=1)
    assert count.usable == 3
    assert [count.sample(number) for number in range(3)] == [1, 4, 5]


def test_smallest_side() -> None:
    assert smallest_side(512, 1.0) == 512
    assert smallest_side(512, 1.25) == 410  # 512 / 1.25 = 409.6


def test_a_window_is_spread_evenly() -> None:
    """Each image is as often first as any other: 1 of 4 in 400 seeds."""
    first = Counter(ImageOrder([2, 2], 1, seed).places(0, [0])[0] for seed in range(400))
    assert len(first) == 4
    assert all(60 <= times <= 140 for times in first.values())
