"""Encodings of the training prompts, made chunk by chunk.

Text encoders are large and the networks need the accelerator, so encoders visit it rarely: each
rank encodes what its samples of the next iterations need, each different prompt once and in one
visit, and keeps that in host memory. When all prompts fit, they are encoded once for the whole run.
Chunks begin at the same iterations on all ranks, so no rank waits for another's encoders, and where
one cannot have its encodings all learn of it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch

from sid_trainer.chunks import PROMPTS_HELD
from sid_trainer.data.prompts import Prompts
from sid_trainer.data.prompts.order import PromptOrder
from sid_trainer.method.conditions import Condition
from sid_trainer.process.group import ProcessGroup, SoloGroup, on_each

Encode = Callable[[Sequence[str]], Condition]
"""Encodes any number of prompts; row i of the result is prompt i, in host memory."""


@dataclass(frozen=True)
class _Chunk:
    """Encoded prompts of some iterations: ``rows`` says which row of ``condition`` each is."""

    iterations: range
    rows: dict[str, int]
    condition: Condition


class EncodedPrompts:
    """Conditions of a rank's samples in any iteration, best asked for in order.

    Args:
        prompts: all training prompts.
        order: which sample has which prompt.
        samples: this rank's places in the global batch.
        encode: the teacher's text encoders.
        capacity: prompts to hold in host memory; at least those of one iteration are.
        group: all ranks.
    """

    def __init__(
        self,
        prompts: Prompts,
        order: PromptOrder,
        samples: Sequence[int],
        encode: Encode,
        capacity: int = PROMPTS_HELD,
        group: ProcessGroup | None = None,
    ) -> None:
        self._group = group or SoloGroup()
        self._prompts = prompts
        self._order = order
        self._samples = samples
        self._encode = encode
        self._chunk_length = max(1, capacity // len(samples))
        different = prompts.different
        few = different is not None and len(different) <= capacity
        self._all = different if few else None
        self._chunk: _Chunk | None = None

    def condition(self, iteration: int) -> Condition:
        """Encoded prompts of this rank's samples, in host memory.

        Raises:
            SharedError: on every rank, when the prompts of one cannot be encoded.
        """
        chunk = self._chunk
        if chunk is None or iteration not in chunk.iterations:
            chunk = self._chunk = on_each(self._group, lambda: self._load(iteration))
        rows = [chunk.rows[prompt] for prompt in self._wanted(range(iteration, iteration + 1))]
        return chunk.condition[torch.tensor(rows)]

    def _wanted(self, iterations: range) -> list[str]:
        numbers = self._order.of(iterations, self._samples)
        return [self._prompts[number] for row in numbers for number in row]

    def _load(self, iteration: int) -> _Chunk:
        """Encodings from an iteration on; those that the last chunk has are taken over."""
        if self._all is not None:
            return _chunk(range(sys.maxsize), self._all, self._encode, None)
        end = iteration - iteration % self._chunk_length + self._chunk_length
        iterations = range(iteration, end)
        return _chunk(iterations, self._wanted(iterations), self._encode, self._chunk)


def _chunk(
    iterations: range, prompts: Iterable[str], encode: Encode, last: _Chunk | None
) -> _Chunk:
    different = list(dict.fromkeys(prompts))
    kept = [prompt for prompt in different if last is not None and prompt in last.rows]
    missing = [prompt for prompt in different if last is None or prompt not in last.rows]
    parts = [encode(missing)] if missing else []
    if last is not None and kept:
        parts.append(last.condition[torch.tensor([last.rows[prompt] for prompt in kept])])
    rows = {prompt: row for row, prompt in enumerate([*missing, *kept])}
    return _Chunk(iterations, rows, parts[0] if len(parts) == 1 else Condition.cat(parts))


def encode_each(prompts: Sequence[str], encode: Encode) -> dict[str, Condition]:
    """Encode different prompts in one visit; each becomes a condition of batch 1 of its own."""
    encoded = encode(prompts)
    return {prompt: encoded[i : i + 1] for i, prompt in enumerate(prompts)}
