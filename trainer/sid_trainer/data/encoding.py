"""Encodings of the training prompts, made chunk by chunk.

Text encoders are large and the networks need the accelerator, so encoders visit it rarely: each
rank encodes what its samples of the next iterations need, each different prompt once, and keeps
that in host memory. When all prompts fit, they are encoded once for the whole run. Chunks begin at
the same iterations on all ranks, so no rank waits for another's encoders.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sid_trainer.conditions import Condition
from sid_trainer.data.prompts import PromptOrder

CAPACITY = 512
"""Prompts held by a rank. SD3's take 2.7 MB each in bf16: 1.4 GB of host memory."""
ENCODER_BATCH = 16
"""Prompts that the text encoders take at a time."""

Encode = Callable[[Sequence[str]], Condition]


class EncodedPrompts:
    """Conditions of a rank's samples in any iteration, best asked for in order.

    Args:
        prompts: all training prompts.
        order: which sample has which prompt.
        samples: this rank's places in the global batch.
        encode: the teacher's text encoders.
        capacity: prompts to hold in host memory; at least those of one iteration are.
    """

    def __init__(
        self,
        prompts: Sequence[str],
        order: PromptOrder,
        samples: Sequence[int],
        encode: Encode,
        capacity: int = CAPACITY,
    ) -> None:
        self._prompts = prompts
        self._order = order
        self._samples = samples
        self._encode = encode
        self._capacity = capacity
        self._chunk_length = max(1, capacity // len(samples))
        self._rows: dict[str, Condition] = {}

    def condition(self, iteration: int) -> Condition:
        """Encoded prompts of this rank's samples, in host memory."""
        wanted = self._wanted(iteration)
        if any(prompt not in self._rows for prompt in wanted):
            self._load(self._chunk_prompts(iteration))
        return Condition.cat([self._rows[prompt] for prompt in wanted])

    def _wanted(self, iteration: int) -> list[str]:
        return [self._prompts[i] for i in self._order.indices(iteration, self._samples)]

    def _chunk_prompts(self, iteration: int) -> list[str]:
        """Different prompts to hold from this iteration on."""
        different = dict.fromkeys(self._prompts)
        if len(different) <= self._capacity:
            return list(different)
        start = iteration - iteration % self._chunk_length
        chunk = range(start, start + self._chunk_length)
        return list(dict.fromkeys(prompt for at in chunk for prompt in self._wanted(at)))

    def _load(self, prompts: list[str]) -> None:
        kept = {prompt: row for prompt, row in self._rows.items() if prompt in set(prompts)}
        self._rows = kept | encode_each([p for p in prompts if p not in kept], self._encode)


def encode_each(prompts: Sequence[str], encode: Encode) -> dict[str, Condition]:
    """Encode prompts in small batches; each becomes a condition of batch 1 of its own."""
    rows: dict[str, Condition] = {}
    for start in range(0, len(prompts), ENCODER_BATCH):
        batch = prompts[start : start + ENCODER_BATCH]
        encoded = encode(batch)
        rows |= {prompt: encoded[i : i + 1] for i, prompt in enumerate(batch)}
    return rows
