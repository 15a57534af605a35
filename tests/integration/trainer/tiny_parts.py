"""Parts of tiny pipelines: the stock classes with random weights."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from diffusers import AutoencoderKL

from sid_trainer.digits import text

Module = TypeVar("Module", bound=torch.nn.Module)


def sd3_texts(t5_tokens: int = text.MAX_TOKENS) -> dict[str, Any]:
    """Text encoders and tokenizers by the names that SD3's pipeline has for them.

    Args:
        t5_tokens: length that T5's tokenizer declares.
    """
    clip_tokenizer, t5_tokenizer = text.clip_tokenizer(), text.t5_tokenizer()
    t5_tokenizer.model_max_length = t5_tokens
    return {
        "text_encoder": text.clip_encoder(clip_tokenizer, seed=1),
        "tokenizer": clip_tokenizer,
        "text_encoder_2": text.clip_encoder(clip_tokenizer, seed=2),
        "tokenizer_2": text.clip_tokenizer(),
        "text_encoder_3": text.t5_encoder(t5_tokenizer, seed=3),
        "tokenizer_3": t5_tokenizer,
    }


def autoencoder(levels: int = 2, pixels: int = 32) -> AutoencoderKL:
    """A VAE of 4 channels; each level but the first halves the width.

    Args:
        levels: of its encoder and decoder.
        pixels: width of the images that it declares.
    """
    return AutoencoderKL(
        block_out_channels=(8,) * levels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=pixels,
        scaling_factor=1.5,
        shift_factor=0.1,
    )


def perturbed(module: Module) -> Module:
    """Weights away from their defaults, whose zeros would hide mistakes."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return module.eval()
