"""FLUX.1-dev: stock ``FluxPipeline`` directories.

The network sees latents packed 2x2 into tokens, each with its place (``img_ids``), and multiplies
its time and guidance inputs by 1000 itself. The condition is T5's encoding plus CLIP's pooled one,
made by the pipeline's own ``encode_prompt``; text tokens have no place (``txt_ids`` are zeros).
FLUX.1-dev's guidance scale is an input; without it (``guidance_embeds`` off) guidance is
classifier-free. Latents are shifted and scaled: ``z = (vae - shift) * scale``.

The student is exported without the guidance input (:mod:`.guidance_input`): the stock pipeline's
call would give it 3.5, where it was trained with 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import torch
from diffusers import FluxPipeline, FluxTransformer2DModel
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from sid_trainer.config import Family
from sid_trainer.method.conditions import GUIDANCE, Condition, Shapes
from sid_trainer.models.exported_network import ExportedNetwork
from sid_trainer.models.weights import Weights
from sid_trainer.teachers.autoencoders import ShiftedAutoencoder
from sid_trainer.teachers.base import TIME_SCALE, Network, Teacher
from sid_trainer.teachers.encoding import encode_in_batches
from sid_trainer.teachers.guidance_input import GuidanceInput
from sid_trainer.teachers.text_encoders import text_pipeline
from sid_trainer.teachers.text_length import length_argument, token_limit
from sid_trainer.transfer import on_accelerator

MAX_T5_TOKENS = 512
"""Length of the T5 encoding in the stock pipeline, unless the tokenizer's own limit is less."""
_T5_TOKENIZER = "tokenizer_2"
_GUIDANCE = GuidanceInput(
    "time_text_embed.timestep_embedder.", "time_text_embed.guidance_embedder.", TIME_SCALE
)
_PATCH = 2
_CALL_SAMPLE_SIZE = 128
"""Height and width, in latents, of the stock pipeline's plain call."""


class FluxTeacher(Teacher):
    """Adapter of the FLUX.1 family."""

    family: ClassVar[Family] = "flux"
    network_class: ClassVar[Any] = FluxTransformer2DModel
    autoencoder_class = ShiftedAutoencoder
    exported_settings: ClassVar[Mapping[str, object]] = {"guidance_embeds": False}

    @property
    def default_resolution(self) -> int:
        """The plain call's resolution: the transformer's config tells none."""
        return _CALL_SAMPLE_SIZE * self.autoencoder.factor

    @property
    def resolution_multiple(self) -> int:
        """A token of the network in pixels."""
        return self.autoencoder.factor * _PATCH

    @property
    def latent_channels(self) -> int:
        """Channels of the latents, not packed."""
        return super().latent_channels // _PATCH**2

    def condition_shapes(self) -> Shapes:
        """Shapes of one prompt's condition; see :meth:`Teacher.condition_shapes`."""
        tokens = token_limit(self.directory, _T5_TOKENIZER, MAX_T5_TOKENS)
        guidance: Shapes = {GUIDANCE: ()} if self._takes_guidance else {}
        return {
            "prompt_embeds": (tokens, int(self.network_config["joint_attention_dim"])),
            "pooled": (int(self.network_config["pooled_projection_dim"]),),
            **guidance,
        }

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Condition:
        """Encode prompts: ``prompt_embeds [B, L, D]`` and ``pooled [B, P]``."""
        pipeline = self._text_pipeline
        with on_accelerator([pipeline.text_encoder, pipeline.text_encoder_2], self.device):
            return encode_in_batches(prompts, self._encode_batch)

    @property
    def encoding_settings(self) -> Mapping[str, Any]:
        """Length of T5's encoding, and whether there is a guidance input."""
        return {"t5_tokens": MAX_T5_TOKENS, "guidance": self._takes_guidance}

    def call_arguments(self, resolution: int) -> dict[str, object]:
        """Size and length of text, unless they are the plain call's."""
        length = length_argument(self.directory, _T5_TOKENIZER, MAX_T5_TOKENS)
        return super().call_arguments(resolution) | length

    def velocity(self, network: Network, x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """Velocity ``[B, C, H, W]``; see :meth:`Teacher.velocity`."""
        prompts = condition.tensors["prompt_embeds"]
        height, width = x.shape[-2:]
        # Rounded as the pipeline does, so that the student meets in training what it will be given.
        time = (sigma * TIME_SCALE).to(x.dtype) / TIME_SCALE
        velocity: Tensor = network(
            hidden_states=pack(x),
            timestep=time,
            guidance=condition.tensors.get(GUIDANCE),
            pooled_projections=condition.tensors["pooled"],
            encoder_hidden_states=prompts,
            txt_ids=prompts.new_zeros(prompts.shape[1], 3),
            img_ids=image_places(height // _PATCH, width // _PATCH, x),
            return_dict=False,
        )[0]
        return unpack(velocity, height, width)

    def weights(self, stored: Weights) -> Weights:
        """A teacher's weights, or those of an exported student; see :meth:`Teacher.weights`."""
        return _GUIDANCE.put_back(stored) if self._takes_guidance else stored

    def exported(self, weights: dict[str, Tensor], resolution: int) -> ExportedNetwork:
        """The student without guidance input; see :meth:`Teacher.exported`."""
        if self._takes_guidance:
            weights = _GUIDANCE.left_out(weights)
        return super().exported(weights, resolution)

    def _encode_batch(self, prompts: list[str]) -> dict[str, Tensor]:
        tokens = token_limit(self.directory, _T5_TOKENIZER, MAX_T5_TOKENS)
        embeds, pooled, _ = self._text_pipeline.encode_prompt(
            prompt=prompts, device=self.device, max_sequence_length=tokens
        )
        guidance = {GUIDANCE: torch.ones(len(prompts))} if self._takes_guidance else {}
        return {"prompt_embeds": embeds, "pooled": pooled, **guidance}

    @property
    def _takes_guidance(self) -> bool:
        return bool(self.network_config["guidance_embeds"])

    @cached_property
    def _text_pipeline(self) -> Any:
        """The pipeline without network and VAE."""
        return text_pipeline(FluxPipeline, self.directory, self.dtype, transformer=None)


def pack(latents: Tensor) -> Tensor:
    """Tokens ``[B, H/2 W/2, 4 C]`` of latents ``[B, C, H, W]``, row by row.

    They are contiguous, as the stock pipeline's: torch gives others to a product and a sum apart,
    which rounds bf16 once more.
    """
    return pixel_unshuffle(latents, _PATCH).flatten(2).transpose(1, 2).contiguous()


def unpack(tokens: Tensor, height: int, width: int) -> Tensor:
    """Latents ``[B, C, H, W]`` of tokens ``[B, H/2 W/2, 4 C]``."""
    batch, _, channels = tokens.shape
    patches = tokens.transpose(1, 2).reshape(batch, channels, height // _PATCH, width // _PATCH)
    return pixel_shuffle(patches, _PATCH)


def image_places(rows: int, columns: int, like: Tensor) -> Tensor:
    """Places ``[rows columns, 3]`` of image tokens: 0, row, column."""
    row = torch.arange(rows, dtype=like.dtype, device=like.device).repeat_interleave(columns)
    column = torch.arange(columns, dtype=like.dtype, device=like.device).repeat(rows)
    return torch.stack([torch.zeros_like(row), row, column], dim=1)
