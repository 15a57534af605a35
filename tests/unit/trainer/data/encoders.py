"""An encoder of prompts that are numbers."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sid_trainer.method.conditions import Condition

IDENTITY = {"family": "sd3", "dtype": "torch.bfloat16", "settings": {"t5_tokens": 256}}


class Encoder:
    """Encodes a prompt as its number, and remembers what it was given."""

    def __init__(self, offset: float = 0) -> None:
        self.visits: list[list[str]] = []
        self._offset = offset

    @property
    def given(self) -> list[str]:
        return [prompt for prompts in self.visits for prompt in prompts]

    def __call__(self, prompts: Sequence[str]) -> Condition:
        self.visits.append(list(prompts))
        numbers = torch.tensor([[float(prompt) + self._offset] for prompt in prompts])
        return Condition({"text": numbers})


def numbered(count: int) -> list[str]:
    return [str(i) for i in range(count)]
