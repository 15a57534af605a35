"""Random numbers of a run, each a function of (seed, purpose, iteration, sample).

Rules this module keeps:

* No generator is carried from one iteration to the next, so a resumed run draws the numbers that
  the uninterrupted one would have drawn, and nothing has to be saved for it.
* A sample's numbers depend on its place in the global batch, not on the rank that computes it:
  the same run on another number of processes draws the same noise.
* A rank draws only what its own samples need.

The seed of each draw is a hash of its coordinates. CPU and CUDA generators give different
numbers for the same seed; within one kind of device they agree.
"""

from __future__ import annotations

import enum
import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


class Purpose(enum.StrEnum):
    """What numbers are drawn for. A new purpose gives new numbers; names must never change."""

    STEPS = "steps"
    PROMPTS = "prompts"
    FAKE_ROLL_OUT = "fake-roll-out"
    FAKE_NOISE = "fake-noise"
    FAKE_LEVEL = "fake-level"
    STUDENT_ROLL_OUT = "student-roll-out"
    STUDENT_NOISE = "student-noise"
    STUDENT_LEVEL = "student-level"
    PREVIEW = "preview"
    IMAGES = "images"
    POSTERIOR = "posterior"


def derived_seed(*coordinates: int | str) -> int:
    """A 63-bit seed that is a hash of its coordinates."""
    text = "/".join(str(coordinate) for coordinate in coordinates)
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def uniform_steps(seed: int, iteration: int, steps: int) -> int:
    """Number k of student steps in an iteration, uniform on 1..``steps``, equal on all ranks."""
    return random.Random(derived_seed(seed, Purpose.STEPS, iteration)).randint(1, steps)


@dataclass(frozen=True)
class NoiseSource:
    """Standard normal numbers for some samples of the global batch of one iteration.

    Attributes:
        seed: the run's seed.
        iteration: number of the iteration.
        samples: places of the samples in the global batch, ``B`` of them.
        device: where the numbers are drawn.
    """

    seed: int
    iteration: int
    samples: Sequence[int]
    device: torch.device

    def normal(self, purpose: Purpose, shape: Sequence[int] = (), draw: int = 0) -> Tensor:
        """Standard normal fp32 numbers ``[B, *shape]``; ``draw`` tells repeated draws apart."""
        generator = torch.Generator(device=self.device)
        out = torch.empty(len(self.samples), *shape, device=self.device)
        for row, sample in enumerate(self.samples):
            generator.manual_seed(derived_seed(self.seed, purpose, self.iteration, draw, sample))
            out[row].normal_(generator=generator)
        return out
