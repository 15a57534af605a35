"""The order of prompts: a permutation an epoch that is computed, not stored."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

from sid_trainer.data.prompts.order import PromptOrder, permuted


def test_each_epoch_has_every_prompt_once_in_another_order() -> None:
    order = PromptOrder(count=10, batch_size=4, seed=1)
    drawn = list(itertools.chain(*order.of(range(5), range(4))))
    assert sorted(drawn[:10]) == sorted(drawn[10:]) == list(range(10))
    assert drawn[:10] != drawn[10:]
    other = PromptOrder(10, 4, seed=2)
    assert drawn[:10] != list(itertools.chain(*other.of(range(5), range(4))))[:10]


def test_ranks_share_the_order_and_chunks_are_the_same() -> None:
    order = PromptOrder(count=7, batch_size=8, seed=0)
    for iteration in (range(1), range(1, 2), range(100, 101)):
        first, second = order.of(iteration, range(4)), order.of(iteration, range(4, 8))
        assert [first[0] + second[0]] == order.of(iteration, range(8))
    together = order.of(range(3, 9), range(2, 5))
    assert together == [order.of(range(at, at + 1), range(2, 5))[0] for at in range(3, 9)]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 16, 255, 1000])
def test_it_is_a_permutation(count: int) -> None:
    for seed in (0, 2**63 - 1):
        assert sorted(permuted(np.arange(count), count, seed)) == list(range(count))


def test_large_sets_need_no_memory() -> None:
    count = 10**12
    places = np.array([0, 1, count - 1, 10**11])
    found = permuted(places, count, seed=7)
    assert len(set(found.tolist())) == 4
    assert found.min() >= 0
    assert found.max() < count
    # Neighbours are torn apart.
    spread = permuted(np.arange(1000), count, seed=7)
    assert np.abs(np.diff(spread)).min() > count / 10**6


def test_all_orders_are_equally_likely() -> None:
    epochs = 1_200
    seen = Counter(tuple(permuted(np.arange(4), 4, seed).tolist()) for seed in range(epochs))
    assert set(seen) == set(itertools.permutations(range(4)))
    expected = epochs / 24
    chi_squared = sum((n - expected) ** 2 / expected for n in seen.values())
    assert chi_squared < 49.7  # 23 degrees of freedom: one in a thousand is larger
