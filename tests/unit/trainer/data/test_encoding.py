"""Encodings of the prompts of a run: made by the chunk, each once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.data.encoding import EncodedPrompts, encode_each
from sid_trainer.data.prompts import PromptIndex
from sid_trainer.data.prompts.index import write_index
from sid_trainer.data.prompts.order import PromptOrder
from sid_trainer.method.conditions import Condition
from sid_trainer.process.group import SharedError
from tests.unit.trainer.data.encoders import Encoder, numbered

Encoded = Callable[..., tuple[EncodedPrompts, PromptOrder]]


@pytest.fixture
def encoded(tmp_path: Path) -> Encoded:
    def make(prompts: list[str], encoder: Encoder, capacity: int) -> object:
        write_index(tmp_path / "index", prompts)
        order = PromptOrder(len(prompts), batch_size=8, seed=0)
        index = PromptIndex(tmp_path / "index")
        return EncodedPrompts(index, order, range(4, 8), encoder, capacity), order

    return make  # type: ignore[return-value]


@pytest.mark.parametrize("capacity", [2, 16, 1000])
def test_conditions_are_those_of_the_prompts(encoded: Encoded, capacity: int) -> None:
    data, order = encoded(numbered(40), Encoder(), capacity)
    for iteration in (0, 1, 2, 3, 7, 8, 30, 5):
        numbers = data.condition(iteration).tensors["text"][:, 0].tolist()
        assert numbers == order.of(range(iteration, iteration + 1), range(4, 8))[0]


def test_prompts_that_all_fit_are_encoded_in_one_visit(encoded: Encoded) -> None:
    encoder = Encoder()
    data, _ = encoded(numbered(10), encoder, capacity=10)
    for iteration in range(30):
        data.condition(iteration)
    assert encoder.visits == [numbered(10)]


def test_other_prompts_are_encoded_by_the_chunk(encoded: Encoded) -> None:
    encoder = Encoder()
    data, _ = encoded(numbered(1000), encoder, capacity=16)
    visits = []
    for iteration in range(8):
        data.condition(iteration)
        visits.append([len(visit) for visit in encoder.visits])
    # 16 prompts are those of 4 iterations with 4 samples on this rank.
    assert visits == [[16]] * 4 + [[16, 16]] * 4


def test_a_resumed_run_encodes_what_is_left_of_the_chunk(encoded: Encoded) -> None:
    encoder = Encoder()
    data, _ = encoded(numbered(1000), encoder, capacity=16)
    data.condition(6)
    data.condition(8)
    assert [len(visit) for visit in encoder.visits] == [8, 16]


def test_prompts_of_two_chunks_are_encoded_once(encoded: Encoded) -> None:
    encoder = Encoder()
    data, order = encoded(numbered(20), encoder, capacity=16)
    for iteration in range(8):
        numbers = data.condition(iteration).tensors["text"][:, 0].tolist()
        assert numbers == order.of(range(iteration, iteration + 1), range(4, 8))[0]
    first, second = encoder.visits
    assert not set(first) & set(second)


def test_prompts_that_cannot_be_encoded_are_told_to_all_ranks(encoded: Encoded) -> None:
    """Only so a checkpoint of what is trained is stored before they end."""

    def refused(prompts: Sequence[str]) -> Condition:
        raise TrainerError(FailureReason.ACCESS_DENIED, "no more")

    data, _ = encoded(numbered(40), refused, 16)
    with pytest.raises(SharedError, match="no more") as told:
        data.condition(0)
    assert told.value.reason is FailureReason.ACCESS_DENIED


def test_equal_prompts_are_encoded_once(encoded: Encoded) -> None:
    encoder = Encoder()
    data, _ = encoded(["7"] * 100, encoder, capacity=50)
    assert data.condition(0).tensors["text"].tolist() == [[7.0]] * 4
    assert encoder.visits == [["7"]]
    assert encode_each(["1", "2"], encoder)["2"].tensors["text"].tolist() == [[2.0]]
