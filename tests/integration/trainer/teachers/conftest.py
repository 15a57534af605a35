"""Tiny pipelines of each family, with random weights and the stock classes."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderDC,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SanaPipeline,
    SanaSprintPipeline,
    SanaTransformer2DModel,
    SCMScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import CLIPTextModel, Gemma2Config, Gemma2Model, GemmaTokenizer

from sid_trainer.digits import text
from tests.integration.trainer.tiny_parts import autoencoder, perturbed, sd3_texts

# The reference of the method and what runs on ranks are beside the distillation's tests.
HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "distillation")]

GEMMA_WIDTH = 16
SANA_CHANNELS = 4
SPECIAL_TOKENS = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]


@pytest.fixture(scope="session")
def tiny_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Directory of a tiny pipeline by name, made once."""
    sprint_teacher = partial(sana, timestep_scale=0.001, qk_norm="rms_norm_across_heads")
    makers: dict[str, Callable[[], Any]] = {
        "sd3": sd3,
        "sd3.5-medium": lambda: sd3(2, dual_attention_layers=(0,), qk_norm="rms_norm"),
        "sana": lambda: sana(timestep_scale=1.0, qk_norm=None),
        "sana-sprint-teacher": sprint_teacher,
        "sana-sprint-said": sprint_teacher,
        "sana-sprint": sana_sprint,
        "flux": lambda: flux(guidance_embeds=True),
        "flux-without-guidance": lambda: flux(guidance_embeds=False),
    }
    made: dict[str, Path] = {}

    def directory(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            makers[name]().save_pretrained(made[name])
        return made[name]

    return directory


def sd3(layers: int = 1, **network: Any) -> StableDiffusion3Pipeline:
    """4-channel latents, a pixel each; T5's tokenizer takes more than the pipeline gives it."""
    torch.manual_seed(3)
    return StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(
            sample_size=2,
            patch_size=2,
            in_channels=4,
            out_channels=4,
            num_layers=layers,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=text.JOINT_WIDTH,
            caption_projection_dim=16,
            pooled_projection_dim=text.POOLED_WIDTH,
            pos_embed_max_size=8,
            **network,
        ).eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=autoencoder(levels=1),
        **sd3_texts(t5_tokens=512),
    )


def sana(timestep_scale: float, qk_norm: str | None) -> SanaPipeline:
    """128 px images, 4-channel 4x4 latents; the scheduler of the released models."""
    torch.manual_seed(7)
    return SanaPipeline(
        **gemma(),
        vae=dc_autoencoder(),
        transformer=sana_transformer(timestep_scale=timestep_scale, qk_norm=qk_norm),
        scheduler=DPMSolverMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
    )


def sana_sprint() -> SanaSprintPipeline:
    """The same around TrigFlow, with the guidance scale as an input."""
    torch.manual_seed(8)
    return SanaSprintPipeline(
        **gemma(),
        vae=dc_autoencoder(),
        transformer=sana_transformer(guidance_embeds=True, qk_norm="rms_norm_across_heads"),
        scheduler=SCMScheduler(),
    )


def flux(guidance_embeds: bool) -> FluxPipeline:
    """4-channel latents, two pixels a latent."""
    torch.manual_seed(9)
    clip_tokenizer, t5_tokenizer = text.clip_tokenizer(), text.t5_tokenizer()
    t5_tokenizer.model_max_length = 512
    clip = CLIPTextModel(text.clip_encoder(clip_tokenizer, seed=1).config)
    return FluxPipeline(
        text_encoder=clip.eval(),
        tokenizer=clip_tokenizer,
        text_encoder_2=text.t5_encoder(t5_tokenizer, seed=3),
        tokenizer_2=t5_tokenizer,
        vae=autoencoder(),
        transformer=flux_transformer(guidance_embeds),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
    )


def sana_transformer(**options: Any) -> SanaTransformer2DModel:
    return perturbed(
        SanaTransformer2DModel(
            in_channels=SANA_CHANNELS,
            out_channels=SANA_CHANNELS,
            num_attention_heads=2,
            attention_head_dim=8,
            num_layers=2,
            num_cross_attention_heads=2,
            cross_attention_head_dim=8,
            cross_attention_dim=16,
            caption_channels=GEMMA_WIDTH,
            sample_size=4,
            **options,
        )
    )


def flux_transformer(guidance_embeds: bool) -> FluxTransformer2DModel:
    return perturbed(
        FluxTransformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=text.JOINT_WIDTH,
            pooled_projection_dim=text.CLIP_WIDTH,
            guidance_embeds=guidance_embeds,
            axes_dims_rope=(4, 6, 6),
        )
    )


def dc_autoencoder() -> AutoencoderDC:
    """A decoder of 32 pixels a latent, as SANA's."""
    levels = 6
    return AutoencoderDC(
        latent_channels=SANA_CHANNELS,
        attention_head_dim=4,
        encoder_block_out_channels=(8,) * levels,
        decoder_block_out_channels=(8,) * levels,
        encoder_layers_per_block=(1,) * levels,
        decoder_layers_per_block=(1,) * levels,
        encoder_qkv_multiscales=((),) * levels,
        decoder_qkv_multiscales=((),) * levels,
        scaling_factor=0.41,
    ).eval()


def gemma() -> dict[str, Any]:
    """A Gemma-2 encoder, and a tokenizer that knows the words of the instruction."""
    tokenizer = gemma_tokenizer()
    config = Gemma2Config(
        vocab_size=len(tokenizer),
        hidden_size=GEMMA_WIDTH,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        query_pre_attn_scalar=8,
    )
    return {"tokenizer": tokenizer, "text_encoder": Gemma2Model(config).eval()}


def gemma_tokenizer() -> GemmaTokenizer:
    words = Tokenizer(models.BPE(unk_token="<unk>"))
    words.normalizer = normalizers.Replace(" ", "▁")
    words.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_previous")
    instruction = inspect.signature(SanaPipeline.__call__).parameters["complex_human_instruction"]
    letters = [chr(code) for code in range(ord("!"), ord("~") + 1)]
    trainer = trainers.BpeTrainer(
        vocab_size=1000,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=letters,
        show_progress=False,
    )
    words.train_from_iterator(instruction.default, trainer)
    trained = json.loads(words.to_str())["model"]
    merges = [tuple(pair) for pair in trained["merges"]]
    tokenizer = GemmaTokenizer(vocab=trained["vocab"], merges=merges)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", tokenizer.bos_token_id)]
    )
    return tokenizer
