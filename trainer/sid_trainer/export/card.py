"""The model card that goes with a student. A pure text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import yaml

from sid_trainer.config import RunConfig

_FRESH_NOTE = """
The sampler draws new noise between two steps. This pipeline does not hand its `generator` to the
scheduler, so that noise comes from torch's **global** generator: `torch.manual_seed` as above makes
a picture repeatable, `generator=` alone does not.
"""
_HAND_ON_GENERATOR = ("SanaPipeline",)
"""Pipelines that do hand their generator to the scheduler."""


def model_card(
    config: RunConfig, pipeline_class: str, iteration: int, call: Mapping[str, object]
) -> str:
    """README.md of the student.

    Args:
        config: the run.
        pipeline_class: diffusers class that loads it.
        iteration: finished iterations.
        call: further arguments of the pipeline's call.
    """
    drawn_globally = config.student.noise == "fresh" and pipeline_class not in _HAND_ON_GENERATOR
    return "\n".join(
        [
            _front_matter(config),
            f"# {config.name}",
            "",
            _summary(config, iteration),
            "",
            "## Use",
            "",
            _snippet(config, pipeline_class, call),
            _FRESH_NOTE if drawn_globally else "",
            "## Training",
            "",
            _settings_table(config, iteration),
            "",
            "The use of this model is bound by the licence of its teacher.",
            "",
        ]
    )


def _front_matter(config: RunConfig) -> str:
    data: dict[str, Any] = {
        "library_name": "diffusers",
        "pipeline_tag": "text-to-image",
        "tags": ["distillation", "sid-dit", "few-step"],
    }
    if not config.teacher.model.startswith(("s3://", "/", ".")):
        data["base_model"] = config.teacher.model
    return f"---\n{yaml.safe_dump(data, sort_keys=False)}---\n"


def _summary(config: RunConfig, iteration: int) -> str:
    steps = config.student.steps
    revision = f" (revision `{config.teacher.revision}`)" if config.teacher.revision else ""
    images = iteration * config.training.batch_size
    return (
        f"A {steps}-step student of `{config.teacher.model}`{revision}, distilled without images "
        "by score identity distillation (SiD-DiT, [arXiv 2509.25127]"
        f"(https://arxiv.org/abs/2509.25127)) over {images:,} generated images. It samples in "
        f"{steps} {'step' if steps == 1 else 'steps'} without classifier-free guidance."
    )


def _snippet(config: RunConfig, pipeline_class: str, call: Mapping[str, object]) -> str:
    dtype = "bfloat16" if config.training.precision == "bf16" else "float32"
    further = "".join(f", {name}={value!r}" for name, value in call.items())
    return (
        "```python\n"
        "import torch\n"
        f"from diffusers import {pipeline_class}\n\n"
        f'pipe = {pipeline_class}.from_pretrained("PATH", dtype=torch.{dtype})\n'
        "torch.manual_seed(0)\n"
        f'image = pipe("a prompt", num_inference_steps={config.student.steps}, '
        f"guidance_scale=1.0{further}).images[0]\n"
        "```\n\n"
        "The arguments must be as shown: the student was trained for exactly these steps, without "
        "guidance."
    )


def _settings_table(config: RunConfig, iteration: int) -> str:
    training, loss = config.training, config.distillation
    half_life = training.ema.half_life_images
    rows = {
        "Iterations": f"{iteration:,} of batch {training.batch_size}",
        "Noise levels": ", ".join(
            _level(config.student.steps, i) for i in range(config.student.steps)
        ),
        "Noise between steps": config.student.noise,
        "Loss": f"alpha {loss.alpha:g}, weighting {loss.weighting}",
        "Guidance while training": f"{loss.guidance.strategy}, scale {loss.guidance.scale:g}",
        "Learning rates": f"student {training.learning_rate:g}, fake score "
        f"{training.fake_learning_rate or training.learning_rate:g}",
        "Precision": training.precision,
        "Weights": f"moving average, half-life {half_life:,} images"
        if half_life
        else "last iterate",
        "Seed": str(training.seed),
    }
    lines = [f"| {name} | {value} |" for name, value in rows.items()]
    return "\n".join(["| setting | value |", "|---|---|", *lines])


def _level(steps: int, index: int) -> str:
    value = 1 - index / steps
    return f"{value:g}" if math.isclose(value, round(value, 3)) else f"{value:.3f}"
