"""Shapes of encoded prompts, by family, without text encoders or tokenizers.

A new family needs a line here; without it its estimate is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from sid_trainer.config import Family
from sid_trainer.estimate.skeleton import Skeleton
from sid_trainer.method.conditions import GUIDANCE, Condition
from sid_trainer.teachers import flux, sana, sd3

Shapes = Mapping[str, tuple[int, ...]]
"""Name and shape of each tensor, the batch axis left out."""


def condition_shapes(family: Family, skeleton: Skeleton) -> Shapes:
    """Shapes of one prompt's condition."""
    return _SHAPES[family](skeleton)


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


def _sd3(skeleton: Skeleton) -> Shapes:
    network = skeleton.components["transformer"]
    clip = _tokens(skeleton, "tokenizer", 77)
    t5 = _tokens(skeleton, "tokenizer_3", sd3.MAX_T5_TOKENS)
    return {
        "prompt_embeds": (clip + t5, int(network["joint_attention_dim"])),
        "pooled": (int(network["pooled_projection_dim"]),),
    }


def _flux(skeleton: Skeleton) -> Shapes:
    network = skeleton.components["transformer"]
    shapes: dict[str, tuple[int, ...]] = {
        "prompt_embeds": (
            _tokens(skeleton, "tokenizer_2", flux.MAX_T5_TOKENS),
            int(network["joint_attention_dim"]),
        ),
        "pooled": (int(network["pooled_projection_dim"]),),
    }
    return shapes | _guidance(network)


def _sana(skeleton: Skeleton) -> Shapes:
    network = skeleton.components["transformer"]
    tokens = _tokens(skeleton, "tokenizer", sana.MAX_TOKENS)
    shapes: dict[str, tuple[int, ...]] = {
        "prompt_embeds": (tokens, int(network["caption_channels"])),
        "mask": (tokens,),
    }
    return shapes | _guidance(network)


def _guidance(network: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {GUIDANCE: ()} if network.get("guidance_embeds") else {}


def _tokens(skeleton: Skeleton, tokenizer: str, limit: int) -> int:
    return min(limit, skeleton.token_limits.get(tokenizer, limit))


_SHAPES: Mapping[Family, Callable[[Skeleton], Shapes]] = {
    "sd3": _sd3,
    "flux": _flux,
    "sana": _sana,
    "sana-sprint": _sana,
}
