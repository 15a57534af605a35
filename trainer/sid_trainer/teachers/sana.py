"""SANA and SANA-1.5 at any resolution: stock ``SanaPipeline`` directories.

The network's time input is ``1000 sigma`` times its config's ``timestep_scale``; the diffusion
model that SANA-Sprint was distilled from is a SanaPipeline, too, whose scale makes that ``sigma``.
The condition is Gemma-2's encoding with its attention mask. Prompts come after the pipeline's
"complex human instruction", the empty prompt alone. DC-AE latents are scaled: ``z = vae * scale``.
The teacher's own scheduler (DPM-Solver with flow sigmas) is not used: a velocity is a velocity.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import torch
from diffusers import SanaPipeline, SanaTransformer2DModel
from torch import Tensor

from sid_trainer.config import Family
from sid_trainer.method.conditions import GUIDANCE, Condition, Shapes
from sid_trainer.teachers.autoencoders import DeepCompressionAutoencoder
from sid_trainer.teachers.base import TIME_SCALE, Network, Teacher
from sid_trainer.teachers.encoding import encode_in_batches
from sid_trainer.teachers.text_encoders import text_pipeline
from sid_trainer.teachers.text_length import length_argument, token_limit
from sid_trainer.transfer import on_accelerator

MAX_TOKENS = 300
"""Length of an encoding in the stock pipeline, unless the tokenizer's own limit is less."""
_TOKENIZER = "tokenizer"
_MULTIPLE = 32
"""What the stock pipeline wants resolutions to be a multiple of."""
_CALL_RESOLUTION = 1024
"""Resolution of the stock pipeline's plain call, whatever the network was made for."""
_BINNED_SAMPLE_SIZES = (16, 32, 64, 128)
"""Sample sizes for which the pipeline brings every resolution to one that the network knows."""


class SanaTeacher(Teacher):
    """Adapter of the SANA family."""

    family: ClassVar[Family] = "sana"
    network_class: ClassVar[Any] = SanaTransformer2DModel
    autoencoder_class = DeepCompressionAutoencoder
    _pipeline_class: ClassVar[Any] = SanaPipeline
    _encode_options: ClassVar[Mapping[str, Any]] = {"do_classifier_free_guidance": False}

    @property
    def default_resolution(self) -> int:
        """The transformer's sample size in pixels."""
        return int(self.network_config["sample_size"]) * self.autoencoder.factor

    @property
    def resolution_multiple(self) -> int:
        """A patch of the network in pixels, and no less than the stock pipeline takes."""
        return max(_MULTIPLE, self.autoencoder.factor * int(self.network_config["patch_size"]))

    def condition_shapes(self) -> Shapes:
        """Shapes of one prompt's condition; see :meth:`Teacher.condition_shapes`."""
        tokens = token_limit(self.directory, _TOKENIZER, MAX_TOKENS)
        guidance: Shapes = {GUIDANCE: ()} if self.takes_guidance else {}
        return {
            "prompt_embeds": (tokens, int(self.network_config["caption_channels"])),
            "mask": (tokens,),
            **guidance,
        }

    @property
    def takes_guidance(self) -> bool:
        """Whether the network's guidance scale is an input."""
        return bool(self.network_config.get("guidance_embeds"))

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Condition:
        """Encode prompts: ``prompt_embeds [B, L, D]`` and ``mask [B, L]``, 1 where a token is."""
        with on_accelerator([self._text_pipeline.text_encoder], self.device):
            return encode_in_batches(prompts, self._encode_batch, kind=bool)

    @property
    def encoding_settings(self) -> Mapping[str, Any]:
        """Length of the encoding, the instruction, and whether there is a guidance input."""
        return {
            "tokens": MAX_TOKENS,
            "instruction": self._instruction,
            "guidance": self.takes_guidance,
        }

    def velocity(self, network: Network, x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """Velocity ``[B, C, H, W]``; see :meth:`Teacher.velocity`."""
        velocity: Tensor = network(
            hidden_states=x,
            timestep=self.time_input(sigma),
            guidance=self._guidance_input(condition),
            encoder_hidden_states=condition.tensors["prompt_embeds"],
            encoder_attention_mask=condition.tensors["mask"],
            return_dict=False,
        )[0]
        return velocity

    def time_input(self, sigma: Tensor) -> Tensor:
        """What the network is given as time for noise levels ``[B]``."""
        return sigma * TIME_SCALE * float(self.network_config.get("timestep_scale", 1.0))

    def call_arguments(self, resolution: int) -> dict[str, object]:
        """Size and length of text, unless they are the plain call's; no change of the size."""
        arguments: dict[str, object] = {}
        if resolution != _CALL_RESOLUTION:
            arguments |= {"height": resolution, "width": resolution}
        size = int(self.network_config["sample_size"])
        if size not in _BINNED_SAMPLE_SIZES or resolution != size * _MULTIPLE:
            arguments["use_resolution_binning"] = False
        return arguments | length_argument(self.directory, _TOKENIZER, MAX_TOKENS)

    def _encode_batch(self, prompts: list[str]) -> dict[str, Tensor]:
        """Encode prompts that are all empty, or none of them."""
        embeds, mask = self._text_pipeline.encode_prompt(
            prompts,
            device=self.device,
            max_sequence_length=token_limit(self.directory, _TOKENIZER, MAX_TOKENS),
            complex_human_instruction=self._instruction if prompts[0] else None,
            **self._encode_options,
        )[:2]
        tensors = {"prompt_embeds": embeds, "mask": mask}
        if self.takes_guidance:
            tensors[GUIDANCE] = torch.ones(len(prompts))
        return tensors

    def _guidance_input(self, condition: Condition) -> Tensor | None:
        if not condition.has_guidance:
            return None
        return condition.tensors[GUIDANCE] * float(self.network_config["guidance_embeds_scale"])

    @property
    def _instruction(self) -> Any:
        """The instruction of the pipeline's plain call."""
        call = inspect.signature(self._pipeline_class.__call__)
        return call.parameters["complex_human_instruction"].default

    @cached_property
    def _text_pipeline(self) -> Any:
        """The pipeline without network and VAE."""
        return text_pipeline(self._pipeline_class, self.directory, self.dtype, transformer=None)
