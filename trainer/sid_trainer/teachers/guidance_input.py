"""Networks whose guidance scale is an input, and their students, which have none.

A student is always given guidance 1, so the input's embedding is a constant. It is added to the
bias that it meets, the last one of the time's embedding, and the input is left out: a stock
pipeline may be called with any scale, and the network samples as it was trained. A run that starts
from such a student (``student.initFrom``) has the input again, with an embedding of zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from torch import Tensor

from sid_trainer.method.guidance import UNGUIDED
from sid_trainer.models.weights import Weights

_BIAS = "linear_2.bias"


def same(name: str) -> str:
    """A parameter's name, where it is the same without the input."""
    return name


@dataclass(frozen=True)
class GuidanceInput:
    """The input of an architecture.

    Attributes:
        time: what the names of the time embedding's parameters begin with.
        guidance: the same of the guidance's.
        scale: what guidance is multiplied by before it is embedded.
        renamed: the name of a parameter in the architecture without the input.
    """

    time: str
    guidance: str
    scale: float
    renamed: Callable[[str], str] = same

    @torch.no_grad()
    def left_out(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights of the network without the input that equals the given one at guidance 1."""
        name = self.time + _BIAS
        bias = weights[name]
        embedder = TimestepEmbedding(in_channels=256, time_embed_dim=len(bias))
        embedder.load_state_dict(
            {
                name.removeprefix(self.guidance): weight
                for name, weight in weights.items()
                if name.startswith(self.guidance)
            }
        )
        frequencies = Timesteps(num_channels=256, flip_sin_to_cos=True, downscale_freq_shift=0)
        constant = embedder(frequencies(torch.tensor([UNGUIDED * self.scale])))[0]
        whole = {**weights, name: (bias.float() + constant).to(bias.dtype)}
        return {
            self.renamed(name): weight
            for name, weight in whole.items()
            if not name.startswith(self.guidance)
        }

    def put_back(self, stored: Weights) -> Weights:
        """Weights by the names of the network with the input, of one with or without it."""
        with_input = self.guidance + _BIAS in stored
        return stored if with_input else _WithGuidanceInput(self, stored)


class _WithGuidanceInput:
    """The embedding's value at 1 is a part of the time embedding's bias already: it is zero here.

    Args:
        input_: the input.
        stored: by the names of the architecture without it.
    """

    def __init__(self, input_: GuidanceInput, stored: Weights) -> None:
        self._input = input_
        self._stored = stored

    def __contains__(self, name: object) -> bool:
        text = str(name)
        return text.startswith(self._input.guidance) or self._input.renamed(text) in self._stored

    def read(self, name: str, shape: torch.Size) -> Tensor:
        """One tensor; see :meth:`Weights.read`."""
        if name.startswith(self._input.guidance):
            return torch.zeros(shape)
        return self._stored.read(self._input.renamed(name), shape)
