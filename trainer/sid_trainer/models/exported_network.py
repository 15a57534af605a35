"""The trained component of a student, in the form in which a stock pipeline runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class ExportedNetwork:
    """What replaces the teacher's network.

    Attributes:
        folder: component of the pipeline, for instance ``transformer``.
        module: an instance of its diffusers class, whose values don't matter; it may be on the
            meta device.
        state_dict: the student's weights by the class's own names, in host memory.
        dtype: type that they are written in.
        pipeline: diffusers pipeline class that runs the student. Default: the teacher's.
        call: arguments that the pipeline's call needs besides prompt, steps and guidance.
    """

    folder: str
    module: nn.Module
    state_dict: dict[str, Tensor]
    dtype: torch.dtype
    pipeline: str | None = None
    call: Mapping[str, object] = field(default_factory=dict)
