"""SD3-Medium, SD3.5-Medium and SD3.5-Large: stock ``StableDiffusion3Pipeline`` directories.

The network's time input is ``1000 sigma``. The condition is the joint encoding of two CLIP
encoders and T5 plus CLIP's pooled projections, made by the pipeline's own ``encode_prompt``; T5 may
be absent. Latents are shifted and scaled: ``z = (vae - shift) * scale``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import torch
from diffusers import SD3Transformer2DModel, StableDiffusion3Pipeline
from torch import Tensor, nn

from sid_trainer.config import Family
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.method.conditions import Condition
from sid_trainer.teachers.autoencoders import ShiftedAutoencoder
from sid_trainer.teachers.base import ImageCoder, Network, Teacher, on_accelerator
from sid_trainer.teachers.encoding import encode_in_batches
from sid_trainer.teachers.text_encoders import text_pipeline
from sid_trainer.teachers.text_length import length_argument, token_limit
from sid_trainer.teachers.text_parts import TEXT_ENCODERS

MAX_T5_TOKENS = 256
"""Length of the T5 encoding in the stock pipeline, unless the tokenizer's own limit is less."""
_TIME_SCALE = 1000.0
_T5_TOKENIZER = "tokenizer_3"
_T5 = ("text_encoder_3", _T5_TOKENIZER)


class SD3Teacher(Teacher):
    """Adapter of the SD3 family."""

    family: ClassVar[Family] = "sd3"

    def build_network(self) -> nn.Module:
        """A new SD3 transformer."""
        network: nn.Module = SD3Transformer2DModel.from_config(
            self.component_config(self.network_folder)
        )
        return network

    @property
    def default_resolution(self) -> int:
        """The transformer's sample size in pixels."""
        return (
            int(self.component_config(self.network_folder)["sample_size"]) * self.autoencoder.factor
        )

    def latent_shape(self, resolution: int) -> tuple[int, int, int]:
        """``(C, H, W)`` of the latents of a square image."""
        config = self.component_config(self.network_folder)
        multiple = self.autoencoder.factor * int(config["patch_size"])
        largest = int(config["pos_embed_max_size"]) * multiple
        if resolution % multiple or resolution > largest:
            raise TrainerError(
                FailureReason.INVALID_CONFIGURATION,
                f"data.resolution {resolution} does not suit this teacher: use a multiple of "
                f"{multiple} up to {largest}",
            )
        side = resolution // self.autoencoder.factor
        return int(config["in_channels"]), side, side

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
        width = self.component_config(self.network_folder)["joint_attention_dim"]
        return {"t5_tokens": MAX_T5_TOKENS, "width": width}

    def call_arguments(self, resolution: int) -> dict[str, object]:
        """Size and length of text, unless they are the plain call's."""
        length = length_argument(self.directory, _T5_TOKENIZER, MAX_T5_TOKENS)
        return super().call_arguments(resolution) | length

    def velocity(self, network: Network, x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """Velocity ``[B, C, H, W]``; see :meth:`Teacher.velocity`."""
        velocity: Tensor = network(
            hidden_states=x,
            timestep=sigma * _TIME_SCALE,
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
    def autoencoder(self) -> ImageCoder:
        """The VAE."""
        return ShiftedAutoencoder(self.directory, self.device, self.dtype)

    @cached_property
    def _text_pipeline(self) -> Any:
        """The pipeline without VAE; its transformer has a shape but no weights.

        Without T5 the pipeline asks the transformer's config for the width of its zeros, and the
        loader wants to be told that T5 is meant to be absent.
        """
        index = json.loads((self.directory / "model_index.json").read_text(encoding="utf-8"))
        absent = {name: None for name in _T5 if index.get(name, [None])[0] is None}
        with torch.device("meta"):
            transformer = self.build_network()
        return text_pipeline(
            StableDiffusion3Pipeline, self.directory, self.dtype, transformer=transformer, **absent
        )
