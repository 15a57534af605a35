"""A tiny FLUX.1-dev: double and single blocks on packed latents, rotary places, a guidance input.

The guidance input is always 1, as it is when FLUX's students are trained and run.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from torch import nn
from transformers import CLIPTextModel

from sid_trainer.digits import text, vae
from sid_trainer.digits.data import IMAGE_SIZE
from sid_trainer.digits.families.base import DigitsFamily, Encodings, TeacherRecipe

_PATCH = 2


class FluxDigits(DigitsFamily):
    """``FluxPipeline``: four image tokens of 2x2 latents."""

    recipe: ClassVar[TeacherRecipe] = TeacherRecipe(family="flux")
    pipeline_class: ClassVar[Any] = FluxPipeline
    plain_call_tokens: ClassVar[int | None] = None  # 512 of them would cost twenty times as much

    def autoencoder(self, images: torch.Tensor, iterations: int) -> nn.Module:
        """An ``AutoencoderKL``."""
        trained: nn.Module = vae.train_vae(images, iterations)
        return trained

    def latents(self, vae_: Any, images: torch.Tensor) -> torch.Tensor:
        """Shifted and scaled, not packed."""
        return vae.encode(vae_, images)

    def pipeline(self, vae: nn.Module) -> FluxPipeline:
        """CLIP and T5, both random."""
        clip_tokenizer, t5_tokenizer = text.clip_tokenizer(), text.t5_tokenizer()
        return FluxPipeline(
            transformer=_transformer(),
            scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
            vae=vae,
            text_encoder=text.clip_encoder(clip_tokenizer, seed=1, kind=CLIPTextModel),
            tokenizer=clip_tokenizer,
            text_encoder_2=text.t5_encoder(t5_tokenizer, seed=3),
            tokenizer_2=t5_tokenizer,
        )

    def encode(self, pipeline: Any, prompts: list[str], tokens: int) -> Encodings:
        """``sequence [N, L, D]`` and ``pooled [N, E]``."""
        sequence, pooled, _ = pipeline.encode_prompt(prompts, None, max_sequence_length=tokens)
        return {"sequence": sequence, "pooled": pooled}

    def velocity(
        self, model: Any, x: torch.Tensor, sigma: torch.Tensor, text: Encodings
    ) -> torch.Tensor:
        """One forward, packed and unpacked by the pipeline's own functions."""
        batch, channels, height, width = x.shape
        places = FluxPipeline._prepare_latent_image_ids(
            batch, height // _PATCH, width // _PATCH, x.device, x.dtype
        )
        velocity = model(
            hidden_states=FluxPipeline._pack_latents(x, batch, channels, height, width),
            timestep=sigma,
            guidance=torch.ones(batch),
            pooled_projections=text["pooled"],
            encoder_hidden_states=text["sequence"],
            txt_ids=torch.zeros(text["sequence"].shape[1], 3),
            img_ids=places,
            return_dict=False,
        )[0]
        unpacked: torch.Tensor = FluxPipeline._unpack_latents(velocity, height, width, 1)
        return unpacked

    def call_arguments(self, pipeline: Any) -> dict[str, Any]:
        """Prompts as long as in training, and the digits' size, which the pipeline cannot know."""
        return {
            "guidance_scale": 1.0,
            "height": IMAGE_SIZE,
            "width": IMAGE_SIZE,
            "max_sequence_length": pipeline.tokenizer_2.model_max_length,
        }


def _transformer() -> FluxTransformer2DModel:
    return FluxTransformer2DModel(
        in_channels=vae.LATENT_CHANNELS * _PATCH**2,
        num_layers=1,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=4,
        joint_attention_dim=text.JOINT_WIDTH,
        pooled_projection_dim=text.CLIP_WIDTH,
        guidance_embeds=True,
        axes_dims_rope=(4, 6, 6),
    )
