"""Guidance of networks that take the scale as an input."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sid_trainer.method.conditions import GUIDANCE, Condition
from sid_trainer.method.guidance import guided_velocity


class Network:
    """Velocity ``text + 10 guidance``, and what it was asked."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.guidance: list[float] = []

    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        self.batches.append(len(x))
        self.guidance += condition.tensors[GUIDANCE].tolist()
        values = condition.tensors["text"] + 10 * condition.tensors[GUIDANCE]
        return values.reshape(-1, 1, 1, 1).expand_as(x)


def condition(*text: float) -> Condition:
    return Condition({"text": torch.tensor(text), GUIDANCE: torch.ones(len(text))})


def guided(network: Network, scale: float) -> Tensor:
    x = torch.zeros(2, 1, 1, 1)
    velocity = guided_velocity(network, x, torch.ones(2), condition(3, 5), condition(1), scale)
    return velocity.flatten()


@pytest.mark.parametrize("scale", [0.5, 1.0, 4.5])
def test_a_positive_scale_is_the_input_of_one_forward(scale: float) -> None:
    network = Network()
    assert guided(network, scale).tolist() == [3 + 10 * scale, 5 + 10 * scale]
    assert network.batches == [2]


def test_scale_zero_is_the_empty_prompt_with_input_one() -> None:
    network = Network()
    assert guided(network, 0.0).tolist() == [11, 11]
    assert network.batches == [2]


def test_a_negative_scale_combines_two_predictions_with_input_one() -> None:
    network = Network()
    assert guided(network, -2.0).tolist() == [11 - 2 * 2, 11 - 2 * 4]
    assert network.guidance == [1, 1, 1, 1]


def test_the_input_is_replaced_in_a_copy() -> None:
    prompts = condition(3, 5)
    assert prompts.with_guidance(4.5).tensors[GUIDANCE].tolist() == [4.5, 4.5]
    assert prompts.tensors[GUIDANCE].tolist() == [1, 1]
    assert not Condition({"text": torch.zeros(1)}).has_guidance
