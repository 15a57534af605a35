"""Samples of every digit from stock pipelines, with fixed seeds."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import adaptive_avg_pool2d

from sid_trainer.digits.data import IMAGE_SIZE
from sid_trainer.digits.families import DigitsFamily
from sid_trainer.digits.prompts import prompts_of
from sid_trainer.digits.seeding import seeded

_BATCH = 250


def balanced_labels(count: int) -> torch.Tensor:
    """Return ``count`` labels 0, 1, … 9, 0, 1, …: each digit equally often, ``[count]``."""
    return torch.arange(count) % 10


def sample(
    family: DigitsFamily, pipeline: Any, labels: torch.Tensor, *, steps: int, seed: int
) -> torch.Tensor:
    """Return one image ``[N, 3, 8, 8]`` in [-1, 1] for each digit of ``labels`` ``[N]``.

    The pipeline runs as a user would run it, unguided, on the digits' prompts in turn. The global
    generator is seeded too, because pipelines do not hand their own to the scheduler's steps.
    Families that draw larger images have them brought back to the digits' size by averaging.
    """
    options = family.call_arguments(pipeline) | {"num_inference_steps": steps}
    with seeded(seed):
        return torch.cat([_batch(pipeline, part, options) for part in torch.split(labels, _BATCH)])


def _batch(pipeline: Any, labels: torch.Tensor, options: dict[str, Any]) -> torch.Tensor:
    prompts = [_prompt(int(label), index) for index, label in enumerate(labels)]
    images: torch.Tensor = pipeline(prompts, output_type="pt", **options).images
    return adaptive_avg_pool2d(images, IMAGE_SIZE) * 2 - 1


def _prompt(label: int, index: int) -> str:
    phrasings = prompts_of(label)
    return phrasings[index // 10 % len(phrasings)]
