"""How the console writes what is told: lengths of time as kubectl and the operator write them."""

from __future__ import annotations

import pytest

from sid_operator.plan.progress import spoken
from sid_trainer.telling.console import duration

SECONDS = (0, 45, 60, 725, 3599, 3600, 11_100, 86_399, 187_200)


@pytest.mark.parametrize("seconds", SECONDS)
def test_trainer_and_operator_write_a_length_of_time_alike(seconds: int) -> None:
    assert duration(seconds) == spoken(seconds)


def test_a_length_of_time_is_told_in_its_two_largest_units() -> None:
    told = [duration(seconds) for seconds in (45.2, 725, 11_100, 187_200)]
    assert told == ["45s", "12m5s", "3h5m", "2d4h"]
