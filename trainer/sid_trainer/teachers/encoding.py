"""Any number of prompts through text encoders, which visit the accelerator once for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from sid_trainer.method.conditions import Condition

ENCODER_BATCH = 16
"""Prompts that the text encoders take at a time."""


def encode_in_batches(
    prompts: Sequence[str],
    encode: Callable[[list[str]], Mapping[str, Tensor]],
    kind: Callable[[str], object] = lambda _: None,
) -> Condition:
    """Encode any number of prompts; row i of the result, which is in host memory, is prompt i.

    Args:
        prompts: at least one.
        encode: encodes a batch: tensors ``[B, ...]``, anywhere.
        kind: prompts of one batch are of one kind.
    """
    whole: dict[str, Tensor] = {}
    for numbers in _batches([kind(prompt) for prompt in prompts]):
        for name, part in encode([prompts[number] for number in numbers]).items():
            if name not in whole:
                whole[name] = part.new_empty(len(prompts), *part.shape[1:], device="cpu")
            whole[name][torch.tensor(numbers)] = part.cpu()
    return Condition(whole)


def _batches(kinds: Sequence[object]) -> Iterator[list[int]]:
    """Numbers of prompts, those of one kind together, a batch at a time."""
    for kind in dict.fromkeys(kinds):
        alike = [number for number, other in enumerate(kinds) if other == kind]
        for start in range(0, len(alike), ENCODER_BATCH):
            yield alike[start : start + ENCODER_BATCH]
