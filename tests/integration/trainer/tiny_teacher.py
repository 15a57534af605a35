"""A tiny SD3 pipeline with random weights, written as a teacher's directory."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)

from sid_trainer.digits import text


def write_teacher(directory: Path, head_width: int = 8) -> Path:
    """Write a ``StableDiffusion3Pipeline``: 16 px images, 4-channel 8x8 latents.

    Args:
        directory: where to.
        head_width: width of each of the transformer's two heads.
    """
    clip_tokenizer, t5_tokenizer = text.clip_tokenizer(), text.t5_tokenizer()
    torch.manual_seed(7)
    pipeline = StableDiffusion3Pipeline(
        transformer=_transformer(head_width),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
        vae=AutoencoderKL(
            block_out_channels=(8, 8),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            latent_channels=4,
            norm_num_groups=4,
            sample_size=16,
            scaling_factor=1.5,
            shift_factor=0.1,
        ),
        text_encoder=text.clip_encoder(clip_tokenizer, seed=1),
        tokenizer=clip_tokenizer,
        text_encoder_2=text.clip_encoder(clip_tokenizer, seed=2),
        tokenizer_2=text.clip_tokenizer(),
        text_encoder_3=text.t5_encoder(t5_tokenizer, seed=3),
        tokenizer_3=t5_tokenizer,
    )
    pipeline.save_pretrained(directory)
    return directory


def _transformer(head_width: int) -> SD3Transformer2DModel:
    """An SD3 transformer with every feature of SD3.5: dual attention and normed queries."""
    torch.manual_seed(11)
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=3,
        attention_head_dim=head_width,
        num_attention_heads=2,
        joint_attention_dim=text.JOINT_WIDTH,
        caption_projection_dim=2 * head_width,
        pooled_projection_dim=text.POOLED_WIDTH,
        pos_embed_max_size=8,
        dual_attention_layers=(0,),
        qk_norm="rms_norm",
    )
    with torch.no_grad():
        for parameter in transformer.parameters():
            # Away from the defaults, whose zeros would hide mistakes.
            parameter.add_(0.05 * torch.randn_like(parameter))
    return transformer
