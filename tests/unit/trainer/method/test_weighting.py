"""Weights of the loss against closed forms."""

from __future__ import annotations

import pytest
import torch

from sid_trainer.config import Weighting
from sid_trainer.method.weighting import loss_weight
from tests.unit.trainer.method.tensors import numbers


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("one-minus-sigma", 0.75),
        ("one-minus-sigma-squared", 0.5625),
        ("inverse-sigma", 4.0),
        ("inverse-sigma-squared", 16.0),
        ("sqrt-snr", 3.0),
        ("snr", 9.0),
    ],
)
def test_weights_of_the_noise_level(name: Weighting, expected: float) -> None:
    sigma = torch.full((3,), 0.25, requires_grad=True)
    weight = loss_weight(name, sigma, numbers(1), numbers(2))
    assert weight.tolist() == pytest.approx([expected] * 3)
    assert not weight.requires_grad


def test_sid_weight_is_the_inverse_mean_distance_without_gradient() -> None:
    x, teacher = numbers(1).requires_grad_(), numbers(2)
    with torch.no_grad():
        teacher[2] = x[2]
    weight = loss_weight("sid", torch.ones(3), x, teacher)
    expected = [1 / float((x[b] - teacher[b]).detach().abs().sum() / 32) for b in range(2)]
    assert weight[:2].tolist() == pytest.approx(expected)
    assert float(weight[2]) == pytest.approx(1e5)
    assert not weight.requires_grad
