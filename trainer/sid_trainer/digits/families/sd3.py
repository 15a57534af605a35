"""A tiny Stable Diffusion 3: joint attention over 16 image tokens and three text encoders."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from torch import nn

from sid_trainer.digits import text, vae
from sid_trainer.digits.families.base import MODEL_TIMES, DigitsFamily, Encodings, TeacherRecipe


class SD3Digits(DigitsFamily):
    """``StableDiffusion3Pipeline``."""

    recipe: ClassVar[TeacherRecipe] = TeacherRecipe(family="sd3")
    pipeline_class: ClassVar[Any] = StableDiffusion3Pipeline
    plain_call_tokens: ClassVar[int | None] = 256

    def autoencoder(self, images: torch.Tensor, iterations: int) -> nn.Module:
        """An ``AutoencoderKL``."""
        trained: nn.Module = vae.train_vae(images, iterations)
        return trained

    def latents(self, vae_: Any, images: torch.Tensor) -> torch.Tensor:
        """Shifted and scaled."""
        return vae.encode(vae_, images)

    def pipeline(self, vae: nn.Module) -> StableDiffusion3Pipeline:
        """Two CLIP encoders and T5, all random."""
        clip_tokenizer, t5_tokenizer = text.clip_tokenizer(), text.t5_tokenizer()
        return StableDiffusion3Pipeline(
            transformer=_transformer(),
            scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
            vae=vae,
            text_encoder=text.clip_encoder(clip_tokenizer, seed=1),
            tokenizer=clip_tokenizer,
            text_encoder_2=text.clip_encoder(clip_tokenizer, seed=2),
            tokenizer_2=text.clip_tokenizer(),
            text_encoder_3=text.t5_encoder(t5_tokenizer, seed=3),
            tokenizer_3=t5_tokenizer,
        )

    def encode(self, pipeline: Any, prompts: list[str], tokens: int) -> Encodings:
        """``sequence [N, L, D]`` and ``pooled [N, E]``."""
        sequence, _, pooled, _ = pipeline.encode_prompt(
            prompts, None, None, do_classifier_free_guidance=False, max_sequence_length=tokens
        )
        return {"sequence": sequence, "pooled": pooled}

    def velocity(
        self, model: Any, x: torch.Tensor, sigma: torch.Tensor, text: Encodings
    ) -> torch.Tensor:
        """One forward."""
        velocity: torch.Tensor = model(
            hidden_states=x,
            timestep=sigma * MODEL_TIMES,
            encoder_hidden_states=text["sequence"],
            pooled_projections=text["pooled"],
            return_dict=False,
        )[0]
        return velocity

    def call_arguments(self, pipeline: Any) -> dict[str, Any]:
        """Prompts as long as in training; the size is the transformer's own."""
        return {
            "guidance_scale": 1.0,
            "max_sequence_length": pipeline.tokenizer_3.model_max_length,
        }


def _transformer() -> SD3Transformer2DModel:
    heads, head_width = 4, 16
    return SD3Transformer2DModel(
        sample_size=4,
        patch_size=1,
        in_channels=vae.LATENT_CHANNELS,
        out_channels=vae.LATENT_CHANNELS,
        num_layers=2,
        attention_head_dim=head_width,
        num_attention_heads=heads,
        joint_attention_dim=text.JOINT_WIDTH,
        caption_projection_dim=heads * head_width,
        pooled_projection_dim=text.POOLED_WIDTH,
        pos_embed_max_size=4,
    )
