"""SD3-Medium, SD3.5-Medium and SD3.5-Large: stock ``StableDiffusion3Pipeline`` directories.

The network's time input is ``1000 sigma``. The condition is the joint encoding of two CLIP
encoders and T5 plus CLIP's pooled projections, made by the pipeline's own ``encode_prompt``; T5 may
be absent. Latents are shifted and scaled: ``z = (vae - shift) * scale``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import torch
from diffusers import SD3Transformer2DModel, StableDiffusion3Pipeline
from torch import Tensor

from sid_trainer.config import Family
from sid_trainer.method.conditions import Condition, Shapes
from sid_trainer.models.pipeline_index import read_index
from sid_trainer.teachers.autoencoders import ShiftedAutoencoder
from sid_trainer.teachers.base import TIME_SCALE, Network, Teacher
from sid_trainer.teachers.encoding import encode_in_batches
from sid_trainer.teachers.text_encoders import text_pipeline
from sid_trainer.teachers.text_length import length_argument, token_limit
from sid_trainer.teachers.text_parts import TEXT_ENCODERS
from sid_trainer.transfer import on_accelerator

MAX_T5_TOKENS = 256
"""Length of the T5 encoding in the stock pipeline, unless the tokenizer's own limit is less."""
_CLIP_TOKENIZER = "tokenizer"
_CLIP_TOKENS = 77
"""Length of the CLIP encodings in the stock pipeline, unless the tokenizer's own limit is less."""
_T5_TOKENIZER = "tokenizer_3"
_T5 = ("text_encoder_3", _T5_TOKENIZER)


class SD3Teacher(Teacher):
    """Adapter of the SD3 family."""

    family: ClassVar[Family] = "sd3"
    network_class: ClassVar[Any] = SD3Transformer2DModel
    autoencoder_class = ShiftedAutoencoder

    @property
    def default_resolution(self) -> int:
        """The transformer's sample size in pixels."""
        return int(self.network_config["sample_size"]) * self.autoencoder.factor

    @property
    def resolution_multiple(self) -> int:
        """A patch of the network in pixels."""
        return self.autoencoder.factor * int(self.network_config["patch_size"])

    @property
    def largest_resolution(self) -> int:
        """As many patches as the network has places for."""
        return int(self.network_config["pos_embed_max_size"]) * self.resolution_multiple

    def condition_shapes(self) -> Shapes:
        """Shapes of one prompt's condition; see :meth:`Teacher.condition_shapes`."""
        clip = token_limit(self.directory, _CLIP_TOKENIZER, _CLIP_TOKENS)
        t5 = token_limit(self.directory, _T5_TOKENIZER, MAX_T5_TOKENS)
        return {
            "prompt_embeds": (clip + t5, int(self.network_config["joint_attention_dim"])),
            "pooled": (int(self.network_config["pooled_projection_dim"]),),
        }

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Condition:
        """Encode prompts: ``prompt_embeds [B, L, D]`` and ``pooled [B, P]``."""
        pipeline = self._text_pipeline
        encoders = [getattr(pipeline, name) for name in TEXT_ENCODERS]
        with on_accelerator([encoder for encoder in encoders if encoder is not None], self.device):
            return encode_in_batches(prompts, self._encode_batch)

    @property
    def encoding_settings(self) -> Mapping[str, Any]:
        """Length of T5's encoding, and the width of what stands for it where there is no T5."""
        return {"t5_tokens": MAX_T5_TOKENS, "width": self.network_config["joint_attention_dim"]}

    def call_arguments(self, resolution: int) -> dict[str, object]:
        """Size and length of text, unless they are the plain call's."""
        length = length_argument(self.directory, _T5_TOKENIZER, MAX_T5_TOKENS)
        return super().call_arguments(resolution) | length

    def velocity(self, network: Network, x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """Velocity ``[B, C, H, W]``; see :meth:`Teacher.velocity`."""
        velocity: Tensor = network(
            hidden_states=x,
            timestep=sigma * TIME_SCALE,
            encoder_hidden_states=condition.tensors["prompt_embeds"],
            pooled_projections=condition.tensors["pooled"],
            return_dict=False,
        )[0]
        return velocity

    def _encode_batch(self, prompts: list[str]) -> dict[str, Tensor]:
        embeds, _, pooled, _ = self._text_pipeline.encode_prompt(
            prompt=prompts,
            prompt_2=None,
            prompt_3=None,
            device=self.device,
            do_classifier_free_guidance=False,
            max_sequence_length=token_limit(self.directory, _T5_TOKENIZER, MAX_T5_TOKENS),
        )
        return {"prompt_embeds": embeds, "pooled": pooled}

    @cached_property
    def _text_pipeline(self) -> Any:
        """The pipeline without VAE; its transformer has a shape but no weights.

        Without T5 the pipeline asks the transformer's config for the width of its zeros, and the
        loader wants to be told that T5 is meant to be absent.
        """
        index = read_index(self.directory)
        absent = {name: None for name in _T5 if index.get(name, [None])[0] is None}
        components = {"transformer": self.meta_network(), **absent}
        return text_pipeline(StableDiffusion3Pipeline, self.directory, self.dtype, **components)
