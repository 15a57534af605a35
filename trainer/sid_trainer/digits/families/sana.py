"""A tiny SANA: linear attention and gated convolutions, cross-attention to Gemma-2, a DC-AE."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from diffusers import DPMSolverMultistepScheduler, SanaPipeline, SanaTransformer2DModel
from torch import nn

from sid_trainer.digits.families import sana_autoencoder, sana_text
from sid_trainer.digits.families.base import MODEL_TIMES, DigitsFamily, Encodings, TeacherRecipe

_SIDE = 4
"""Of the latents."""


class SanaDigits(DigitsFamily):
    """``SanaPipeline``: digits four times enlarged, as its images' sides are multiples of 32."""

    recipe: ClassVar[TeacherRecipe] = TeacherRecipe(family="sana", vae_iterations=600)
    pipeline_class: ClassVar[Any] = SanaPipeline
    plain_call_tokens: ClassVar[int | None] = None  # padding is masked

    def autoencoder(self, images: torch.Tensor, iterations: int) -> nn.Module:
        """An ``AutoencoderDC``."""
        trained: nn.Module = sana_autoencoder.train(images, iterations)
        return trained

    def latents(self, vae: Any, images: torch.Tensor) -> torch.Tensor:
        """Scaled."""
        return sana_autoencoder.encode(vae, images)

    def pipeline(self, vae: nn.Module) -> SanaPipeline:
        """A random Gemma-2, and the scheduler of the released models, unshifted."""
        tokenizer = sana_text.tokenizer()
        return SanaPipeline(
            transformer=_transformer(),
            scheduler=DPMSolverMultistepScheduler(
                prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=1.0
            ),
            vae=vae,
            text_encoder=sana_text.encoder(tokenizer, seed=4),
            tokenizer=tokenizer,
        )

    def encode(self, pipeline: Any, prompts: list[str], tokens: int) -> Encodings:
        """``sequence [N, L, D]`` and ``mask [N, L]``; the empty prompt without instruction."""
        parts = [
            pipeline.encode_prompt(
                [prompt],
                do_classifier_free_guidance=False,
                max_sequence_length=tokens,
                complex_human_instruction=sana_text.instruction() if prompt else None,
            )[:2]
            for prompt in prompts
        ]
        sequences, masks = zip(*parts, strict=True)
        return {"sequence": torch.cat(sequences), "mask": torch.cat(masks)}

    def velocity(
        self, model: Any, x: torch.Tensor, sigma: torch.Tensor, text: Encodings
    ) -> torch.Tensor:
        """One forward."""
        velocity: torch.Tensor = model(
            hidden_states=x,
            timestep=sigma * MODEL_TIMES,
            encoder_hidden_states=text["sequence"],
            encoder_attention_mask=text["mask"],
            return_dict=False,
        )[0]
        return velocity

    def call_arguments(self, pipeline: Any) -> dict[str, Any]:
        """The enlarged digits' size, left as it is."""
        side = _SIDE * sana_autoencoder.FACTOR
        return {
            "guidance_scale": 1.0,
            "height": side,
            "width": side,
            "use_resolution_binning": False,
            "max_sequence_length": pipeline.tokenizer.model_max_length,
        }


def _transformer() -> SanaTransformer2DModel:
    heads, head_width = 4, 16
    return SanaTransformer2DModel(
        in_channels=sana_autoencoder.LATENT_CHANNELS,
        out_channels=sana_autoencoder.LATENT_CHANNELS,
        num_attention_heads=heads,
        attention_head_dim=head_width,
        num_layers=2,
        num_cross_attention_heads=heads,
        cross_attention_head_dim=head_width,
        cross_attention_dim=heads * head_width,
        caption_channels=sana_text.WIDTH,
        sample_size=_SIDE,
        interpolation_scale=1,
    )
