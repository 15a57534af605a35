"""Prompts are encoded in batches of one kind."""

from __future__ import annotations

import torch

from sid_trainer.teachers.encoding import ENCODER_BATCH, encode_in_batches


def test_batches_of_one_kind_come_back_in_order() -> None:
    prompts = ["" if i % 3 == 0 else str(i) for i in range(40)]
    seen: list[list[str]] = []

    def encode(batch: list[str]) -> dict[str, torch.Tensor]:
        seen.append(batch)
        numbers = torch.tensor([[float(prompt or -1)] * 2 for prompt in batch])
        return {"text": numbers.bfloat16(), "length": torch.tensor([len(p) for p in batch])}

    whole = encode_in_batches(prompts, encode, kind=bool)
    assert whole.tensors["text"].tolist() == [[float(prompt or -1)] * 2 for prompt in prompts]
    assert whole.tensors["text"].dtype == torch.bfloat16
    assert whole.tensors["length"].tolist() == [len(prompt) for prompt in prompts]
    assert all(len(batch) <= ENCODER_BATCH and len(set(map(bool, batch))) == 1 for batch in seen)
    assert sorted(prompt for batch in seen for prompt in batch) == sorted(prompts)
