"""The path between images and noise, and its levels, against closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from sid_trainer.method.flow import (
    add_noise,
    clean_estimate,
    student_noise_levels,
    training_noise_level,
)
from tests.unit.trainer.method.tensors import numbers


def test_noise_of_the_true_velocity_is_undone() -> None:
    x0, noise = numbers(1), numbers(2)
    sigma = torch.tensor([0.1, 0.5, 1.0], dtype=torch.float64)
    x = add_noise(x0, noise, sigma)
    torch.testing.assert_close(x[1], 0.5 * x0[1] + 0.5 * noise[1])
    torch.testing.assert_close(x[2], noise[2])
    torch.testing.assert_close(clean_estimate(x, noise - x0, sigma), x0)


def test_training_noise_levels_are_logistic_normal() -> None:
    normal = torch.linspace(-3, 3, 7, dtype=torch.float64)
    expected = [1 / (1 + 1 / (2 * math.exp(1.6 * n))) for n in normal.tolist()]
    torch.testing.assert_close(
        training_noise_level(normal), torch.tensor(expected, dtype=torch.float64)
    )
    # The median is the level whose odds are two to one.
    assert float(training_noise_level(torch.zeros(1))) == pytest.approx(2 / 3)


@pytest.mark.parametrize(("steps", "levels"), [(1, [1]), (2, [1, 0.5]), (4, [1, 0.75, 0.5, 0.25])])
def test_student_noise_levels(steps: int, levels: list[float]) -> None:
    assert list(student_noise_levels(steps)) == levels
