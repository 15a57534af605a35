"""Pipelines whose networks are large enough that their tensors outweigh the small change."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from transformers import CLIPTextModel

from sid_trainer.digits import text
from tests.integration.trainer.tiny_parts import autoencoder, sd3_texts

sys.path.insert(0, str(Path(__file__).parents[1] / "distillation"))


@pytest.fixture(scope="session")
def small_sd3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of a ``StableDiffusion3Pipeline`` of 2 M parameters: 32 px, 4x16x16 latents."""
    directory = tmp_path_factory.mktemp("small-sd3")
    torch.manual_seed(7)
    pipeline = StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(
            sample_size=16,
            patch_size=2,
            in_channels=4,
            out_channels=4,
            num_layers=3,
            attention_head_dim=32,
            num_attention_heads=4,
            joint_attention_dim=text.JOINT_WIDTH,
            caption_projection_dim=128,
            pooled_projection_dim=text.POOLED_WIDTH,
            pos_embed_max_size=16,
            dual_attention_layers=(0,),
            qk_norm="rms_norm",
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
        vae=autoencoder(),
        **sd3_texts(),
    )
    pipeline.save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def small_flux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of a ``FluxPipeline`` of 1.5 M parameters: 4-channel latents, two pixels each."""
    directory = tmp_path_factory.mktemp("small-flux")
    torch.manual_seed(9)
    clip_tokenizer, t5_tokenizer = text.clip_tokenizer(), text.t5_tokenizer()
    t5_tokenizer.model_max_length = 512
    pipeline = FluxPipeline(
        transformer=FluxTransformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=3,
            attention_head_dim=32,
            num_attention_heads=4,
            joint_attention_dim=text.JOINT_WIDTH,
            pooled_projection_dim=text.CLIP_WIDTH,
            guidance_embeds=True,
            axes_dims_rope=(8, 12, 12),
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=autoencoder(),
        text_encoder=CLIPTextModel(text.clip_encoder(clip_tokenizer, seed=1).config).eval(),
        tokenizer=clip_tokenizer,
        text_encoder_2=text.t5_encoder(t5_tokenizer, seed=3),
        tokenizer_2=t5_tokenizer,
    )
    pipeline.save_pretrained(directory)
    return directory
