"""Prompts: reading them, their order, and their encodings."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from sid_trainer.conditions import Condition
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.data.encoding import EncodedPrompts
from sid_trainer.data.prompts import PromptOrder, parse_prompts


def test_blank_lines_and_a_byte_order_mark_are_dropped() -> None:
    data = "\ufeffa cat \n\n\t\n two dogs\r\nдом\n".encode()
    assert parse_prompts(data, "prompts.txt") == ["a cat", "two dogs", "дом"]


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"\n \n", "has no prompts"), (b"caf\xe9", r"not UTF-8 text \(byte 3\)")],
)
def test_unusable_prompts_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(TrainerError, match=message) as caught:
        parse_prompts(data, "prompts.txt")
    assert caught.value.reason is FailureReason.INVALID_DATA


def test_each_epoch_has_every_prompt_once_in_another_order() -> None:
    order = PromptOrder(count=10, batch_size=4, seed=1)
    drawn = [i for iteration in range(5) for i in order.indices(iteration, range(4))]
    assert sorted(drawn[:10]) == sorted(drawn[10:]) == list(range(10))
    assert drawn[:10] != drawn[10:]
    assert (
        drawn[:10]
        != [i for t in range(5) for i in PromptOrder(10, 4, seed=2).indices(t, range(4))][:10]
    )


def test_ranks_share_the_order() -> None:
    order = PromptOrder(count=7, batch_size=8, seed=0)
    for iteration in (0, 1, 100):
        halves = order.indices(iteration, range(4)) + order.indices(iteration, range(4, 8))
        assert halves == order.indices(iteration, range(8))


class Encoder:
    """Encodes a prompt as its number, and remembers what it was given."""

    def __init__(self) -> None:
        self.given: list[str] = []

    def __call__(self, prompts: Sequence[str]) -> Condition:
        self.given += prompts
        return Condition({"text": torch.tensor([[float(prompt)] for prompt in prompts])})


def encoded(count: int, encoder: Encoder, capacity: int) -> tuple[EncodedPrompts, PromptOrder]:
    prompts = [str(i) for i in range(count)]
    order = PromptOrder(count, batch_size=8, seed=0)
    return EncodedPrompts(prompts, order, range(4, 8), encoder, capacity), order


@pytest.mark.parametrize("capacity", [2, 16, 1000])
def test_conditions_are_those_of_the_prompts(capacity: int) -> None:
    data, order = encoded(40, Encoder(), capacity)
    for iteration in (0, 1, 2, 3, 7, 8, 30):
        numbers = data.condition(iteration).tensors["text"][:, 0].tolist()
        assert numbers == order.indices(iteration, range(4, 8))


def test_prompts_that_all_fit_are_encoded_once() -> None:
    encoder = Encoder()
    data, _ = encoded(10, encoder, capacity=10)
    for iteration in range(30):
        data.condition(iteration)
    assert sorted(encoder.given, key=int) == [str(i) for i in range(10)]


def test_other_prompts_are_encoded_by_the_chunk() -> None:
    encoder = Encoder()
    data, _ = encoded(1000, encoder, capacity=16)
    calls = []
    for iteration in range(8):
        before = len(encoder.given)
        data.condition(iteration)
        calls.append(len(encoder.given) - before)
    # 16 prompts are those of 4 iterations with 4 samples on this rank.
    assert calls == [16, 0, 0, 0, 16, 0, 0, 0]


def test_equal_prompts_are_encoded_once() -> None:
    encoder = Encoder()
    order = PromptOrder(100, batch_size=8, seed=0)
    EncodedPrompts(["7"] * 100, order, range(8), encoder, 50).condition(0)
    assert encoder.given == ["7"]


def test_conditions_are_cut_joined_and_repeated() -> None:
    condition = Condition({"a": torch.arange(6.0).reshape(3, 2), "mask": torch.tensor([1, 0, 1])})
    assert len(condition) == 3
    joined = Condition.cat([condition[2:], condition[torch.tensor([0, 1])]])
    assert joined.tensors["a"].tolist() == [[4, 5], [0, 1], [2, 3]]
    assert joined.tensors["mask"].tolist() == [1, 1, 0]
    repeated = condition[:1].expand(4)
    assert repeated.tensors["a"].shape == (4, 2)
    half = condition.to(torch.device("cpu"), torch.bfloat16)
    assert half.tensors["a"].dtype == torch.bfloat16
    assert half.tensors["mask"].dtype == torch.int64
