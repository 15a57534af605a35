"""Encoded prompts, whatever a teacher family makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from sid_trainer.transfer import to_device

GUIDANCE = "guidance"
"""Name of the guidance scales ``[B]``, for networks that take them as an input."""

Shapes = Mapping[str, tuple[int, ...]]
"""Name and shape of each tensor of a :class:`Condition`, the batch axis left out."""


@dataclass(frozen=True)
class Condition:
    """Encoded prompts of a batch: named tensors, each ``[B, ...]``.

    Names and further axes are the adapter's (SD3: ``prompt_embeds [B, L, D]`` and
    ``pooled [B, P]``); all else moves, cuts and joins them along the batch axis only. One name has
    a meaning to all: :data:`GUIDANCE`, which adapters of networks with that input set to 1.
    """

    tensors: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def __getitem__(self, rows: slice | Tensor) -> Self:
        """The prompts of some rows."""
        return type(self)({name: tensor[rows] for name, tensor in self.tensors.items()})

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        """The same on a device; floating-point tensors in ``dtype``."""
        return type(self)(
            {
                name: to_device(tensor, device, dtype if tensor.is_floating_point() else None)
                for name, tensor in self.tensors.items()
            }
        )

    def expand(self, batch: int) -> Self:
        """One prompt ``batch`` times, without a copy."""
        return type(self)(
            {name: tensor.expand(batch, *tensor.shape[1:]) for name, tensor in self.tensors.items()}
        )

    @property
    def has_guidance(self) -> bool:
        """Whether the network takes a guidance scale as an input."""
        return GUIDANCE in self.tensors

    def with_guidance(self, scale: float) -> Self:
        """The same prompts with another scale as the network's input."""
        scales = torch.full_like(self.tensors[GUIDANCE], scale)
        return type(self)({**self.tensors, GUIDANCE: scales})

    @classmethod
    def cat(cls, parts: Sequence[Condition]) -> Self:
        """Join batches one after another."""
        return cls(
            {name: torch.cat([part.tensors[name] for part in parts]) for name in parts[0].tensors}
        )
