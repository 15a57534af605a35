"""What of a network's blocks is compiled."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from diffusers import SanaTransformer2DModel
from torch import Tensor

from sid_trainer.engine.blocks import compile_each


def network() -> Any:
    torch.manual_seed(0)
    return SanaTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=2,
        num_cross_attention_heads=2,
        cross_attention_head_dim=8,
        cross_attention_dim=16,
        caption_channels=8,
        sample_size=8,
        patch_size=1,
    )


@torch.no_grad()
def output(built: Any) -> Tensor:
    draw = torch.Generator().manual_seed(1)
    out: Tensor = built(
        hidden_states=torch.randn(2, 4, 8, 8, generator=draw),
        encoder_hidden_states=torch.randn(2, 5, 8, generator=draw),
        encoder_attention_mask=torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]),
        timestep=torch.tensor([300.0, 700.0]),
        return_dict=False,
    )[0]
    return out


class Seeing:
    """A processor of attention that notes whether it was called from what is compiled."""

    def __init__(self, processor: Any, seen: list[bool]) -> None:
        self.processor, self.seen = processor, seen

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.seen.append(torch.compiler.is_compiling())
        return self.processor(*args, **kwargs)


def test_attention_with_a_mask_stays_as_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    built = network()
    expected = output(built)
    masked: list[bool] = []
    plain: list[bool] = []
    for block in built.transformer_blocks:
        block.attn1.processor = Seeing(block.attn1.processor, plain)
        block.attn2.processor = Seeing(block.attn2.processor, masked)
    compile_each(built)
    torch.testing.assert_close(output(built), expected)
    assert masked == [False, False]
    assert plain
    assert all(plain)
