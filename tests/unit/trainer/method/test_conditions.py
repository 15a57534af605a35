"""What a network is told of its prompts, by the sample."""

from __future__ import annotations

import torch

from sid_trainer.method.conditions import Condition


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
