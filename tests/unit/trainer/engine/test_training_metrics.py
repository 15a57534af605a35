"""Means of what was measured."""

from __future__ import annotations

import math

from sid_trainer.engine.training_metrics import means_of_finite


def test_means_are_over_what_is_finite() -> None:
    names = ["a", "b", "c", "a", "c", "a"]
    numbers = [1.0, math.nan, math.inf, 4.0, 5.0, math.nan]
    assert means_of_finite(names, numbers) == {"a": 2.5, "c": 5.0}
