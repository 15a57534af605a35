"""Students in bf16, as they are exported by default, in their stock pipelines.

SD3's and FLUX's round what the trainer does not: how much that may be, and that it is all.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from moved_students import PROMPT, RESOLUTION, Student, called
from torch import Tensor

from sid_trainer.config import NoiseMode, StudentConfig
from sid_trainer.method.flow import student_noise_levels

BF16_ROUNDING = 2.0**-9
"""The most that a number changes when it is rounded to the 8 binary digits of bf16, of itself."""
ROUNDINGS = {"sd3": 2, "sd3.5-medium": 2, "sana-sprint": 1, "flux": 3, "flux-without-guidance": 2}
"""Roundings of a stock step that the trainer's has not: the latent and the change that the step
makes to it, where latents are bf16 (SANA's are fp32, as the trainer's), and the bias that took the
place of a guidance input."""
FP32_ROUNDING = 1e-6


@torch.no_grad()
def rounded_samples(student: Student) -> Tensor:
    """The trainer's samples with latents, and what steps change in them, in the network's dtype."""
    noise, dtype, condition = student.noise(), student.teacher.dtype, student.condition(PROMPT)
    x = noise[0].to(dtype)
    mixed_in = [*noise[1:], torch.zeros(noise[0].shape)]
    levels = [*student_noise_levels(student.config.steps), 0.0]
    for (sigma, following), fresh in zip(pairwise(levels), mixed_in, strict=True):
        v = student.teacher.velocity(student.network, x, torch.full((len(x),), sigma), condition)
        if student.config.noise == "fresh":
            clean = x.float() - (sigma * v).float()
            x = ((1 - following) * clean + following * fresh).to(dtype)
        else:
            x = (x.float() + ((following - sigma) * v).float()).to(dtype)
    return x.float()


@pytest.mark.parametrize("noise", ["fresh", "ddim"])
@pytest.mark.parametrize("name", RESOLUTION)
def test_the_plain_call_differs_by_roundings(
    tiny_pipeline: Callable[[str], Path], tmp_path: Path, name: str, noise: NoiseMode
) -> None:
    """In norm they add up to no more than their number: a step's weights are at most 1."""
    student = Student(name, tiny_pipeline(name), StudentConfig(noise=noise), torch.bfloat16)
    latents = called(student, student.stock(tmp_path))
    expected = student.samples(student.noise())
    bound = ROUNDINGS.get(name, 0) * student.config.steps * BF16_ROUNDING + FP32_ROUNDING
    assert float((latents - expected).norm() / expected.norm()) < bound


@pytest.mark.parametrize("noise", ["fresh", "ddim"])
@pytest.mark.parametrize("name", ["sd3", "sd3.5-medium", "flux-without-guidance"])
def test_nothing_but_the_latents_is_rounded_otherwise(
    tiny_pipeline: Callable[[str], Path], tmp_path: Path, name: str, noise: NoiseMode
) -> None:
    student = Student(name, tiny_pipeline(name), StudentConfig(noise=noise), torch.bfloat16)
    latents = called(student, student.stock(tmp_path))
    assert torch.equal(latents, rounded_samples(student))
