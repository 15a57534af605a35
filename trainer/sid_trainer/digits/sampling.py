"""Samples of every digit from stock pipelines, with fixed seeds."""

from __future__ import annotations

import torch
from diffusers import StableDiffusion3Pipeline

from sid_trainer.digits.prompts import prompts_of
from sid_trainer.digits.seeding import seeded

_BATCH = 250


def balanced_labels(count: int) -> torch.Tensor:
    """Return ``count`` labels 0, 1, … 9, 0, 1, …: each digit equally often, ``[count]``."""
    return torch.arange(count) % 10


def sample(
    pipeline: StableDiffusion3Pipeline, labels: torch.Tensor, *, steps: int, seed: int
) -> torch.Tensor:
    """Return one image ``[N, 3, H, W]`` in [-1, 1] for each digit of ``labels`` ``[N]``.

    The pipeline runs as a user would run it, unguided, on the digits' prompts in turn. The global
    generator is seeded too, because the pipeline does not hand its own to the scheduler's steps.
    """
    with seeded(seed):
        return torch.cat([_batch(pipeline, part, steps) for part in torch.split(labels, _BATCH)])


def _batch(pipeline: StableDiffusion3Pipeline, labels: torch.Tensor, steps: int) -> torch.Tensor:
    prompts = [_prompt(int(label), index) for index, label in enumerate(labels)]
    images: torch.Tensor = pipeline(
        prompts,
        num_inference_steps=steps,
        guidance_scale=1.0,
        max_sequence_length=pipeline.tokenizer_3.model_max_length,
        output_type="pt",
    ).images
    return images * 2 - 1


def _prompt(label: int, index: int) -> str:
    phrasings = prompts_of(label)
    return phrasings[index // 10 % len(phrasings)]
