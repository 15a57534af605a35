"""The single-process reference for networks other than SD3's, called as their pipelines do.

The fields ``pooled`` hold what a family gives its network beside the prompts' encodings. The tokens
that the discriminator sees are made by the networks' parts, one after another.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any

import torch
from diffusers import FluxPipeline
from sid_reference import Reference
from torch import Tensor


class SanaReference(Reference):
    """SANA: the time is ``1000 s``; an attention mask goes with the encodings."""

    time_scale = 1000

    def _call(self, network: Any, x: Tensor, s: Tensor, *, with_text: bool) -> Tensor:
        embeds, mask = _text(self, len(x), with_text)
        return network(
            x,
            encoder_hidden_states=embeds,
            timestep=self.time_scale * s,
            encoder_attention_mask=mask,
        ).sample

    def _tokens(self, x: Tensor, s: Tensor, kappa: float, text: Sequence[Tensor]) -> Tensor:
        time, of_norm = self.fake.time_embed(
            self.time_scale * s.flatten(), batch_size=len(x), hidden_dtype=x.dtype
        )
        return sana_tokens(self.fake, x, time, of_norm, text)


class SprintTeacherReference(SanaReference):
    """The model that SANA-Sprint was distilled from: SANA, but the time is ``s``."""

    time_scale = 1


class EmbeddedReference(Reference, abc.ABC):
    """A positive scale is an input; it is 1 in the predictions that others are made of."""

    def _cfg(self, network: Any, x: Tensor, s: Tensor, kappa: float) -> Tensor:
        if kappa > 0:
            return self._embedded(network, x, s.flatten(), kappa, with_text=True)
        return super()._cfg(network, x, s, kappa)

    def _call(self, network: Any, x: Tensor, s: Tensor, *, with_text: bool) -> Tensor:
        return self._embedded(network, x, s, 1.0, with_text=with_text)

    @abc.abstractmethod
    def _embedded(
        self, network: Any, x: Tensor, s: Tensor, scale: float, *, with_text: bool
    ) -> Tensor:
        """The prediction of a network that is given this guidance scale."""


class SprintReference(EmbeddedReference):
    """SANA-Sprint: the time is ``s``; a tenth of the scale is an input."""

    def _embedded(
        self, network: Any, x: Tensor, s: Tensor, scale: float, *, with_text: bool
    ) -> Tensor:
        embeds, mask = _text(self, len(x), with_text)
        return network(
            x,
            encoder_hidden_states=embeds,
            timestep=s,
            guidance=torch.full((len(x),), 0.1 * scale),
            encoder_attention_mask=mask,
        ).sample

    def _tokens(self, x: Tensor, s: Tensor, kappa: float, text: Sequence[Tensor]) -> Tensor:
        guidance = torch.full((len(x),), 0.1 * _input(kappa))
        time, of_norm = self.fake.time_embed(s.flatten(), guidance=guidance, hidden_dtype=x.dtype)
        return sana_tokens(self.fake, x, time, of_norm, text)


class FluxReference(EmbeddedReference):
    """FLUX.1-dev: the scale is an input; latents are packed as by the pipeline."""

    def _embedded(
        self, network: Any, x: Tensor, s: Tensor, scale: float, *, with_text: bool
    ) -> Tensor:
        embeds, pooled = _text(self, len(x), with_text)
        height, width = x.shape[-2:]
        tokens = network(
            hidden_states=_packed(x),
            timestep=s,
            guidance=torch.full((len(x),), scale),
            pooled_projections=pooled,
            encoder_hidden_states=embeds,
            txt_ids=torch.zeros(embeds.shape[1], 3),
            img_ids=_places(x),
        ).sample
        return FluxPipeline._unpack_latents(tokens, height, width, vae_scale_factor=1)

    def _tokens(self, x: Tensor, s: Tensor, kappa: float, text: Sequence[Tensor]) -> Tensor:
        net, (embeds, pooled) = self.fake, text
        guidance = torch.full((len(x),), 1000 * _input(kappa))
        time = net.time_text_embed(1000 * s.flatten(), guidance, pooled)
        places = net.pos_embed(torch.cat([torch.zeros(embeds.shape[1], 3), _places(x)]))
        tokens, context = net.x_embedder(_packed(x)), net.context_embedder(embeds)
        for block in [*net.transformer_blocks, *net.single_transformer_blocks]:
            context, tokens = block(
                hidden_states=tokens,
                encoder_hidden_states=context,
                temb=time,
                image_rotary_emb=places,
            )
        return net.norm_out(tokens, time)


def sana_tokens(
    net: Any, x: Tensor, time: Tensor, of_norm: Tensor, text: Sequence[Tensor]
) -> Tensor:
    """What a SANA network's output projection is given, once the time is embedded."""
    embeds, mask = text
    tokens, rows, columns = net.patch_embed(x), *x.shape[-2:]
    context = net.caption_norm(net.caption_projection(embeds))
    unseen = (1 - mask.to(x.dtype))[:, None] * -10000.0
    for block in net.transformer_blocks:
        tokens = block(tokens, None, context, unseen, time, rows, columns)
    return net.norm_out(tokens, of_norm, net.scale_shift_table)


def _input(kappa: float) -> float:
    """The scale that is an input."""
    return kappa if kappa > 0 else 1.0


def _packed(x: Tensor) -> Tensor:
    return FluxPipeline._pack_latents(x, *x.shape)


def _places(x: Tensor) -> Tensor:
    height, width = x.shape[-2:]
    return FluxPipeline._prepare_latent_image_ids(
        len(x), height // 2, width // 2, x.device, x.dtype
    )


def _text(reference: Reference, batch: int, with_text: bool) -> tuple[Tensor, Tensor]:
    if with_text:
        return reference.embeds, reference.pooled
    return reference.empty_embeds.repeat(batch, 1, 1), reference.empty_pooled.repeat(batch, 1)
