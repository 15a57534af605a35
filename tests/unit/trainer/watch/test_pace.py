"""How long an iteration may take, by those before it."""

from __future__ import annotations

import pytest

from sid_trainer.watch.pace import SETTLED, SHORTEST, Pace


@pytest.mark.parametrize(
    ("took", "bound"),
    [
        ([], 1800.0),
        ([1.0] * (SETTLED - 1), 1800.0),  # too few to tell
        ([1.0] * SETTLED, SHORTEST),
        ([30.0] * SETTLED, 600.0),
        ([30.0, 60.0, *[30.0] * 100], 1200.0),  # the slowest counts
        ([180.0, *[10.0] * 9], 540.0),  # the first may have compiled
        ([90.0, *[10.0] * 9], SHORTEST),
        ([500.0] * SETTLED, 1800.0),  # never beyond the user's bound
    ],
)
def test_the_bound_follows_the_slowest_iteration(took: list[float], bound: float) -> None:
    pace = Pace(1800.0)
    for seconds in took:
        pace.took(seconds)
    assert pace.bound == bound


def test_it_says_where_the_bound_comes_from() -> None:
    pace = Pace(1800.0)
    assert pace.told == "training.watchdogSeconds"
    for _ in range(SETTLED):
        pace.took(20.04)
    assert pace.told == "the slowest iteration before took 20.0 s"
    compiled = Pace(1800.0)
    for seconds in (180.0, *[10.0] * SETTLED):
        compiled.took(seconds)
    assert compiled.told == "the first iteration took 180.0 s"


def test_a_short_bound_of_the_users_holds() -> None:
    pace = Pace(20.0)
    for _ in range(SETTLED):
        pace.took(0.5)
    assert (pace.bound, pace.told) == (20.0, "training.watchdogSeconds")
