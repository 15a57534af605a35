"""A tiny SD3 pipeline with random weights, written as a teacher's directory."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)

from sid_trainer.digits import text
from tests.integration.trainer.tiny_parts import autoencoder, perturbed, sd3_texts


def write_teacher(directory: Path, head_width: int = 8, layers: int = 3) -> Path:
    """Write a ``StableDiffusion3Pipeline``: 16 px images, 4-channel 8x8 latents.

    Args:
        directory: where to.
        head_width: width of each of the transformer's two heads.
        layers: its depth.
    """
    torch.manual_seed(7)
    pipeline = StableDiffusion3Pipeline(
        transformer=_transformer(head_width, layers),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
        vae=autoencoder(pixels=16),
        **sd3_texts(),
    )
    pipeline.save_pretrained(directory)
    return directory


def _transformer(head_width: int, layers: int) -> SD3Transformer2DModel:
    """An SD3 transformer with every feature of SD3.5: dual attention and normed queries."""
    torch.manual_seed(11)
    return perturbed(
        SD3Transformer2DModel(
            sample_size=8,
            patch_size=2,
            in_channels=4,
            out_channels=4,
            num_layers=layers,
            attention_head_dim=head_width,
            num_attention_heads=2,
            joint_attention_dim=text.JOINT_WIDTH,
            caption_projection_dim=2 * head_width,
            pooled_projection_dim=text.POOLED_WIDTH,
            pos_embed_max_size=8,
            dual_attention_layers=(0,),
            qk_norm="rms_norm",
        )
    )
