"""What a family of digits teachers has to provide: its stock pipeline, and one forward of it.

Everything else (data, training, cache, judge) is written against :class:`DigitsFamily`, so that a
new family is one file here and one line in the registry. Nothing of the trainer's own adapters is
used: a teacher trained and sampled by stock means can tell when an adapter is wrong.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn

Encodings = Mapping[str, torch.Tensor]
"""Encoded prompts by the family's own names, each tensor ``[N, ...]``."""
MODEL_TIMES = 1000.0
"""What stock networks call time is the noise level times this."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherRecipe:
    """How a teacher is trained. The defaults are SD3's: about two minutes on one core."""

    family: str = "sd3"
    seed: int = 0
    vae_iterations: int = 1000
    iterations: int = 2500
    batch_size: int = 64
    learning_rate: float = 4e-3
    """Peak, after a short warm-up; half of it leaves three times the Fréchet distance."""
    gradient_clipping: float = 1.0
    ema_decay: float = 0.998
    condition_dropout: float = 0.1
    long_prompt_every: int = 32
    """Every how many iterations prompts are as long as a plain call pads them, not 8 tokens: those
    cost ten times as much, and a few suffice for the teacher to be good with both."""


class DigitsFamily(abc.ABC):
    """A tiny pipeline of stock classes that learns the digits."""

    recipe: ClassVar[TeacherRecipe]
    pipeline_class: ClassVar[Any]
    plain_call_tokens: ClassVar[int | None]
    """Tokens that a plain pipeline call pads prompts to, where the teacher is to be good with them
    too; None where padding is masked, or calls have to name the length of training."""

    @abc.abstractmethod
    def autoencoder(self, images: torch.Tensor, iterations: int) -> nn.Module:
        """Train the autoencoder on digits ``[N, 3, 8, 8]``; the global generator decides."""

    @abc.abstractmethod
    def latents(self, vae: Any, images: torch.Tensor) -> torch.Tensor:
        """Latents ``[N, C, h, w]`` of digits ``[N, 3, 8, 8]`` as the transformer sees them."""

    @abc.abstractmethod
    def pipeline(self, vae: nn.Module) -> Any:
        """The pipeline with a new transformer and frozen text encoders."""

    @abc.abstractmethod
    def encode(self, pipeline: Any, prompts: list[str], tokens: int) -> Encodings:
        """Encode prompts as the pipeline does, padded to a number of tokens."""

    @abc.abstractmethod
    def velocity(
        self, model: Any, x: torch.Tensor, sigma: torch.Tensor, text: Encodings
    ) -> torch.Tensor:
        """Velocity ``[B, C, h, w]`` of noisy latents at noise levels ``[B]``, as the pipeline asks.

        The target is ``noise - x0``.
        """

    @abc.abstractmethod
    def call_arguments(self, pipeline: Any) -> dict[str, Any]:
        """What the pipeline's call needs besides prompts and steps to draw unguided digits."""
