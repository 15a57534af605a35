"""Learning rates that are not given follow the precision."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sid_trainer.config.training import DEFAULT_RATES, TrainingConfig


@pytest.mark.parametrize(
    ("given", "student", "fake"),
    [
        ({}, 2e-6, 2e-6),
        ({"precision": "fp32"}, 2e-6, 2e-6),
        ({"precision": "pure-bf16"}, 1e-5, 1e-5),
        ({"precision": "pure-bf16", "fakeLearningRate": 2e-5}, 1e-5, 2e-5),
        ({"precision": "pure-bf16", "learningRate": 3e-5}, 3e-5, 3e-5),
        ({"learningRate": 1e-6, "fakeLearningRate": 4e-6}, 1e-6, 4e-6),
    ],
)
def test_learning_rates(given: dict[str, Any], student: float, fake: float) -> None:
    training = TrainingConfig.model_validate(given)
    assert (training.student_rate, training.fake_rate) == (student, fake)


def test_the_rate_of_pure_bf16_moves_weights_that_another_does_not() -> None:
    """A step of Adam is about the rate; weights between 2^-10 and 2^-9 are 2^-17 apart."""
    weight = torch.tensor(1.5 * 2**-10, dtype=torch.bfloat16)
    assert weight - DEFAULT_RATES["bf16"] == weight
    assert weight - DEFAULT_RATES["pure-bf16"] != weight
