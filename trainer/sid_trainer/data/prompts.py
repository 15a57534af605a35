"""The training prompts and the order in which they come.

The order is a function of (seed, number of prompts) alone: a fresh permutation each epoch, cut into
global batches, so it depends neither on the number of ranks nor on where a run was resumed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch

from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.noise import Purpose, derived_seed


def parse_prompts(data: bytes, source: str) -> list[str]:
    """Prompts of a UTF-8 text, one a line; surrounding blanks and empty lines are dropped.

    Args:
        data: content of the file.
        source: where it came from, for messages.

    Raises:
        TrainerError: ``InvalidData`` when it is not UTF-8 or has no prompt.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TrainerError(
            FailureReason.INVALID_DATA,
            f"data.prompts.uri {source} is not UTF-8 text (byte {error.start}): save it as UTF-8",
        ) from error
    prompts = [line.strip() for line in text.splitlines() if line.strip()]
    if not prompts:
        raise TrainerError(
            FailureReason.INVALID_DATA,
            f"data.prompts.uri {source} has no prompts: give a text file with one prompt a line",
        )
    return prompts


@dataclass(frozen=True)
class PromptOrder:
    """Which prompt each sample of each iteration has.

    Attributes:
        count: number of prompts.
        batch_size: samples of an iteration over all ranks.
        seed: the run's seed.
    """

    count: int
    batch_size: int
    seed: int

    def indices(self, iteration: int, samples: Sequence[int]) -> list[int]:
        """Prompt of each sample; ``samples`` are places in the global batch, from 0."""
        start = iteration * self.batch_size
        return [self._at(start + sample) for sample in samples]

    def _at(self, position: int) -> int:
        epoch, offset = divmod(position, self.count)
        return int(_permutation(self.count, self.seed, epoch)[offset])


@lru_cache(maxsize=4)
def _permutation(count: int, seed: int, epoch: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(derived_seed(seed, Purpose.PROMPTS, epoch))
    return torch.randperm(count, generator=generator)
