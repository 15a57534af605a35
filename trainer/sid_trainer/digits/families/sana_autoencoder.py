"""A tiny deep-compression autoencoder: enlarged digits ``[B, 3, 32, 32]`` to ``[B, 4, 4, 4]``.

Latents are drawn towards the digits' own 2x2 blocks, less their mean, as those of the small VAE
are: they keep the spectrum of images. DC-AE latents are scaled, not shifted.
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderDC
from torch.nn.functional import interpolate, pixel_unshuffle

from sid_trainer.digits.progress import Progress

LATENT_CHANNELS = 4
FACTOR = 8
"""Pixels a latent."""
_ENLARGEMENT = 4
_LEVELS = 4
_BATCH = 64
_LEARNING_RATE = 3e-3


def train(images: torch.Tensor, iterations: int) -> AutoencoderDC:
    """Train on digits ``[N, 3, 8, 8]`` in [-1, 1]; global torch RNG decides everything."""
    model = _untrained()
    optimizer = torch.optim.AdamW(model.parameters(), lr=_LEARNING_RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, _LEARNING_RATE, total_steps=iterations
    )
    blocks = _blocks(images)
    centre = blocks.mean()
    for _ in (progress := Progress("autoencoder", iterations)):
        rows = torch.randint(len(images), (_BATCH,))
        large = enlarged(images[rows])
        latents = model.encode(large).latent
        decoded = model.decode(latents).sample
        anchor = (latents - (blocks[rows] - centre)).square().mean()
        loss = (decoded - large).square().mean() + anchor
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        progress.loss = loss.item()
    model.eval().requires_grad_(False)
    model.register_to_config(scaling_factor=float(1 / model.encode(enlarged(images)).latent.std()))
    return model


def enlarged(images: torch.Tensor) -> torch.Tensor:
    """Return digits with each pixel 4x4 large."""
    return interpolate(images, scale_factor=_ENLARGEMENT, mode="nearest")


@torch.no_grad()
def encode(model: AutoencoderDC, images: torch.Tensor) -> torch.Tensor:
    """Return scaled latents ``[B, 4, 4, 4]`` of digits ``[B, 3, 8, 8]``."""
    latents: torch.Tensor = model.encode(enlarged(images)).latent * model.config.scaling_factor
    return latents


def _blocks(images: torch.Tensor) -> torch.Tensor:
    return pixel_unshuffle(images.mean(1, keepdim=True), 2)


def _untrained() -> AutoencoderDC:
    channels = (16,) * _LEVELS
    layers = (0, *(1,) * (_LEVELS - 1))  # no layer at full resolution: halved at once
    return AutoencoderDC(
        latent_channels=LATENT_CHANNELS,
        attention_head_dim=8,
        encoder_block_out_channels=channels,
        decoder_block_out_channels=channels,
        encoder_layers_per_block=layers,
        decoder_layers_per_block=layers,
        encoder_qkv_multiscales=((),) * _LEVELS,
        decoder_qkv_multiscales=((),) * _LEVELS,
        scaling_factor=1.0,
    )
