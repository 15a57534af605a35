"""Torch's kernels in the place of diffusers' own modules."""

from __future__ import annotations

import copy

import torch
from diffusers import SD3Transformer2DModel
from diffusers.models.normalization import RMSNorm
from torch import nn

from sid_trainer.engine.kernels import use_fused_norms


def network() -> nn.Module:
    torch.manual_seed(0)
    built: nn.Module = SD3Transformer2DModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=8,
        caption_projection_dim=16,
        pooled_projection_dim=8,
        pos_embed_max_size=4,
        qk_norm="rms_norm",
    )
    for name, parameter in built.named_parameters():
        if "norm_" in name:
            nn.init.normal_(parameter)
    return built


def outputs(built: nn.Module) -> torch.Tensor:
    draw = torch.Generator().manual_seed(1)
    out = built(
        hidden_states=torch.randn(2, 4, 8, 8, generator=draw),
        encoder_hidden_states=torch.randn(2, 3, 8, generator=draw),
        pooled_projections=torch.randn(2, 8, generator=draw),
        timestep=torch.tensor([300.0, 700.0]),
        return_dict=False,
    )
    result: torch.Tensor = out[0]
    return result


def test_the_network_computes_the_same_with_the_same_parameters() -> None:
    stock = network()
    fused = copy.deepcopy(stock)
    use_fused_norms(fused)
    assert not [m for m in fused.modules() if isinstance(m, RMSNorm)]
    assert [n for n, _ in fused.named_parameters()] == [n for n, _ in stock.named_parameters()]
    torch.testing.assert_close(outputs(fused), outputs(stock), rtol=1e-5, atol=1e-6)


def test_gradients_reach_the_very_parameters_that_were_there() -> None:
    built = network()
    before = dict(built.named_parameters())
    use_fused_norms(built)
    assert all(before[name] is parameter for name, parameter in built.named_parameters())
    outputs(built).sum().backward()  # type: ignore[no-untyped-call]
    weight = before["transformer_blocks.0.attn.norm_q.weight"]
    assert weight.grad is not None
    assert weight.grad.abs().max() > 0


def test_a_norm_with_a_bias_is_left_as_it_is() -> None:
    holder = nn.Sequential(RMSNorm(4, 1e-5, bias=True))
    use_fused_norms(holder)
    assert isinstance(holder[0], RMSNorm)
