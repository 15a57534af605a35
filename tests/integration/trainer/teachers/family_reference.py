"""The single-process reference for networks other than SD3's, called as their pipelines do.

The fields ``pooled`` hold what a family gives its network beside the prompts' encodings.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import FluxPipeline
from sid_reference import Reference
from torch import Tensor


class SanaReference(Reference):
    """SANA: the time is ``1000 s``; an attention mask goes with the encodings."""

    def _call(self, network: Any, x: Tensor, s: Tensor, *, with_text: bool) -> Tensor:
        embeds, mask = _text(self, len(x), with_text)
        return network(
            x, encoder_hidden_states=embeds, timestep=1000 * s, encoder_attention_mask=mask
        ).sample


class SprintReference(Reference):
    """SANA-Sprint: the time is ``s``; a tenth of the scale is an input."""

    def _cfg(self, network: Any, x: Tensor, s: Tensor, kappa: float) -> Tensor:
        return self._embedded(network, x, s.flatten(), kappa)

    def _call(self, network: Any, x: Tensor, s: Tensor, *, with_text: bool) -> Tensor:
        return self._embedded(network, x, s, 1.0)

    def _embedded(self, network: Any, x: Tensor, s: Tensor, scale: float) -> Tensor:
        embeds, mask = _text(self, len(x), with_text=True)
        return network(
            x,
            encoder_hidden_states=embeds,
            timestep=s,
            guidance=torch.full((len(x),), 0.1 * scale),
            encoder_attention_mask=mask,
        ).sample


class FluxReference(SprintReference):
    """FLUX.1-dev: the scale is an input; latents are packed as by the pipeline."""

    def _embedded(self, network: Any, x: Tensor, s: Tensor, scale: float) -> Tensor:
        embeds, pooled = _text(self, len(x), with_text=True)
        batch, channels, height, width = x.shape
        tokens = network(
            hidden_states=FluxPipeline._pack_latents(x, batch, channels, height, width),
            timestep=s,
            guidance=torch.full((batch,), scale),
            pooled_projections=pooled,
            encoder_hidden_states=embeds,
            txt_ids=torch.zeros(embeds.shape[1], 3),
            img_ids=FluxPipeline._prepare_latent_image_ids(
                batch, height // 2, width // 2, x.device, x.dtype
            ),
        ).sample
        return FluxPipeline._unpack_latents(tokens, height, width, vae_scale_factor=1)


def _text(reference: Reference, batch: int, with_text: bool) -> tuple[Tensor, Tensor]:
    if with_text:
        return reference.embeds, reference.pooled
    return reference.empty_embeds.repeat(batch, 1, 1), reference.empty_pooled.repeat(batch, 1)
