"""Guidance by two predictions, and of networks that take the scale as an input."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sid_trainer.method.conditions import GUIDANCE, Condition
from sid_trainer.method.guidance import guided_velocity
from tests.unit.trainer.method.tensors import numbers


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


class Recorder:
    """A velocity that is the prompt's number, and how many samples each call had."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        assert len(x) == len(sigma) == len(condition)
        self.calls.append(len(x))
        return x * 0 + condition.tensors["text"].reshape(-1, 1, 1, 1)


@pytest.mark.parametrize(("scale", "batch"), [(1.0, 3), (0.0, 3), (4.5, 6), (-1.0, 6), (0.5, 6)])
def test_guided_velocity_in_one_call(scale: float, batch: int) -> None:
    network = Recorder()
    prompts = Condition({"text": torch.tensor([[2.0], [3.0], [5.0]])})
    empty = Condition({"text": torch.tensor([[1.0]])})
    velocity = guided_velocity(network, numbers(1), torch.ones(3), prompts, empty, scale)
    expected = [1 + scale * (c - 1) for c in (2, 3, 5)]
    assert velocity[:, 0, 0, 0].tolist() == pytest.approx(expected)
    assert network.calls == [batch]
