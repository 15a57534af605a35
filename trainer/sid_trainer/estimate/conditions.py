"""Conditions by their shapes alone, without prompts and text encoders."""

from __future__ import annotations

import torch

from sid_trainer.method.conditions import Condition, Shapes


def blank_condition(shapes: Shapes, batch: int, dtype: torch.dtype) -> Condition:
    """A condition of ``batch`` prompts on ``meta``."""
    return Condition(
        {
            name: torch.empty((batch, *shape), dtype=dtype, device="meta")
            for name, shape in shapes.items()
        }
    )


def condition_numbers(shapes: Shapes) -> int:
    """Numbers that one prompt's condition consists of."""
    return sum(torch.Size(shape).numel() for shape in shapes.values())
