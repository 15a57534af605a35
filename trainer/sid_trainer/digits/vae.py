"""The teacher's VAE: images ``[B, 3, 8, 8]`` to latents ``[B, 4, 4, 4]`` and back.

As many numbers as the digits have pixels, so hardly anything is lost. A free autoencoder of that
width makes nearly white latents, which take a small transformer longer to learn. So the posterior's
mean is drawn towards the image itself, its 2×2 blocks stacked as channels, and the latents keep the
spectrum of images.
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL

from sid_trainer.digits.progress import Progress

LATENT_CHANNELS = 4
_KL_WEIGHT = 1e-4
_ANCHOR_WEIGHT = 1.0
_BATCH = 64
_LEARNING_RATE = 3e-3


def train_vae(images: torch.Tensor, iterations: int) -> AutoencoderKL:
    """Train a VAE on ``images`` ``[N, 3, 8, 8]`` in [-1, 1]; global torch RNG decides everything.

    Its scaling and shift factors are set so that latents have mean 0 and variance 1.
    """
    vae = _untrained()
    optimizer = torch.optim.AdamW(vae.parameters(), lr=_LEARNING_RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, _LEARNING_RATE, total_steps=iterations
    )
    for _ in (progress := Progress("vae", iterations)):
        batch = images[torch.randint(len(images), (_BATCH,))]
        loss = _loss(vae, batch)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        progress.loss = loss.item()
    return _normalised(vae.eval().requires_grad_(False), images)


def _untrained() -> AutoencoderKL:
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(16, 32),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        sample_size=8,
        mid_block_add_attention=False,
        use_quant_conv=False,
        use_post_quant_conv=False,
        scaling_factor=1.0,
        shift_factor=0.0,
    )


def _loss(vae: AutoencoderKL, images: torch.Tensor) -> torch.Tensor:
    posterior = vae.encode(images).latent_dist
    decoded = vae.decode(posterior.sample()).sample
    per_pixel = posterior.kl().mean() / images[0, 0].numel()
    anchor = torch.nn.functional.pixel_unshuffle(images.mean(1, keepdim=True), 2)
    loss: torch.Tensor = (
        (decoded - images).square().mean()
        + _ANCHOR_WEIGHT * (posterior.mean - anchor).square().mean()
        + _KL_WEIGHT * per_pixel
    )
    return loss


def _normalised(vae: AutoencoderKL, images: torch.Tensor) -> AutoencoderKL:
    latents = vae.encode(images).latent_dist.mean
    vae.register_to_config(
        shift_factor=float(latents.mean()), scaling_factor=float(1 / latents.std())
    )
    return vae


@torch.no_grad()
def encode(vae: AutoencoderKL, images: torch.Tensor) -> torch.Tensor:
    """Return normalised latents ``[B, C, h, w]``, as the transformer sees them."""
    mean = vae.encode(images).latent_dist.mean
    latents: torch.Tensor = (mean - vae.config.shift_factor) * vae.config.scaling_factor
    return latents
