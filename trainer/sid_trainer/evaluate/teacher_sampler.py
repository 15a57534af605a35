"""How the teacher is sampled: guided Euler steps at the noise levels of its own scheduler.

The levels are those that the stock pipeline takes for as many steps (SD3, FLUX). SANA's scheduler
is a second-order DPM-Solver: its levels are taken, its correction is not. SANA-Sprint's is made for
one to four steps of another kind: its teacher gets evenly spaced levels. So does a teacher whose
scheduler is not known here, which is told.
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sid_trainer.method.conditions import Condition
from sid_trainer.method.guidance import Velocity, guided_velocity

_TOKEN_SIDE = 2
"""Latents on a side of a token, for schedulers that shift by the number of tokens."""

logger = logging.getLogger(__name__)


def guided_euler(
    velocity: Velocity,
    x: Tensor,
    levels: Sequence[float],
    condition: Condition,
    empty: Condition,
    scale: float,
) -> Tensor:
    """Clean latents ``[B, C, H, W]``.

    Args:
        velocity: the teacher.
        x: standard normal noise ``[B, C, H, W]``, fp32.
        levels: falling noise levels, the last one 0.
        condition: the prompts, B of them.
        empty: the empty prompt, once.
        scale: guidance scale.
    """
    for sigma, following in pairwise(levels):
        level = x.new_full((len(x),), sigma)
        x = x + (following - sigma) * guided_velocity(velocity, x, level, condition, empty, scale)
    return x


def teacher_levels(
    directory: Path, steps: int, latent_shape: tuple[int, int, int]
) -> tuple[float, ...]:
    """Noise levels of the teacher's own scheduler, the final 0 included.

    Args:
        directory: the teacher's pipeline.
        steps: number of steps N.
        latent_shape: ``(C, H, W)``, for schedulers that shift by resolution.
    """
    file = directory / "scheduler" / "scheduler_config.json"
    config: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    match config.get("_class_name"):
        case "FlowMatchEulerDiscreteScheduler":
            return _flow_match_levels(config, steps, latent_shape)
        case "DPMSolverMultistepScheduler" if config.get("use_flow_sigmas"):
            return shifted_levels(steps, float(config.get("flow_shift") or 1.0))
        case "SCMScheduler":
            return shifted_levels(steps, 1.0)
        case other:
            _tell_unknown(file, other)
            return shifted_levels(steps, 1.0)


@functools.cache
def _tell_unknown(file: Path, name: str | None) -> None:
    """Warn once: the teacher is sampled several times in a run."""
    what = (
        "is not there or names no class"
        if name is None
        else f"is of {name}, whose levels are not known here"
    )
    logger.warning(
        "%s %s: the teacher is sampled at evenly spaced noise levels, which may not be those that "
        "it is best with, in grids and in all that is measured against it; known are "
        "FlowMatchEulerDiscreteScheduler, and DPMSolverMultistepScheduler with use_flow_sigmas",
        file,
        what,
    )


def shifted_levels(steps: int, shift: float) -> tuple[float, ...]:
    """Levels ``s u / (1 + (s - 1) u)`` of evenly spaced ``u`` from 1 to 0."""
    even = [1 - i / steps for i in range(steps + 1)]
    return tuple(shift * u / (1 + (shift - 1) * u) for u in even)


def _flow_match_levels(
    config: dict[str, Any], steps: int, latent_shape: tuple[int, int, int]
) -> tuple[float, ...]:
    from diffusers import FlowMatchEulerDiscreteScheduler  # noqa: PLC0415 - heavy

    scheduler = FlowMatchEulerDiscreteScheduler.from_config(config)
    if config.get("use_dynamic_shifting"):
        even = [1 - i / steps for i in range(steps)]  # FLUX's pipeline passes these
        scheduler.set_timesteps(sigmas=even, mu=_shift_of_size(config, latent_shape))
    else:
        scheduler.set_timesteps(steps)
    levels: torch.Tensor = scheduler.sigmas
    return tuple(levels.tolist())


def _shift_of_size(config: dict[str, Any], latent_shape: tuple[int, int, int]) -> float:
    """FLUX's ``mu``: a line through two numbers of tokens and their shifts."""
    tokens = latent_shape[1] * latent_shape[2] // _TOKEN_SIDE**2
    low, high = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    bottom, top = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
    return float(bottom + (top - bottom) * (tokens - low) / (high - low))
