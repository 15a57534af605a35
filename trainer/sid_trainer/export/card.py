"""The model card that goes with a student. A pure text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from sid_trainer.config import RunConfig
from sid_trainer.export.licence import Licence
from sid_trainer.method.guidance_scales import guidance_scales, sampling_scale
from sid_trainer.method.sampler import OWN_SCHEDULER, needs_own_scheduler

SAMPLES = "samples.png"
"""Picture beside the card."""
_FRESH_NOTE = """
The sampler draws new noise between two steps. This pipeline does not hand its `generator` to the
scheduler, so that noise comes from torch's **global** generator: `torch.manual_seed` as above makes
a picture repeatable, `generator=` alone does not.
"""
_OWN_SCHEDULER_NOTE = f"""
The student was trained with one noise for all its steps, which no scheduler of diffusers does. So
a scheduler goes with it: [{OWN_SCHEDULER}]({OWN_SCHEDULER}), twenty lines that need nothing but
diffusers. Nothing loads this file by itself, and `trust_remote_code` is not needed.

Without the scheduler the same call makes pictures, too, by DDIM steps (each goes on with the noise
that it implies). They are not what the student was trained for, and not what is shown or measured
here.
"""
_HAND_ON_GENERATOR = ("SanaPipeline",)
"""Pipelines that do hand their generator to the scheduler."""
_METRICS = {
    "fid": "FID to the reference images (lower is better)",
    "fidTeacher": "FID to the teacher's samples (lower is better)",
    "clipScore": "CLIP score (higher is better)",
    "preferenceScore": "Preference score (higher is better)",
}


@dataclass(frozen=True)
class CardFacts:
    """What a card says of one export.

    Attributes:
        pipeline_class: diffusers class that loads the student.
        iteration: finished iterations.
        revision: of the teacher, as found or configured.
        precision: torch's name of the type of the weights.
        call: further arguments of the pipeline's call.
        licence: of the teacher.
        metrics: of this student, by name.
        teacher: the same of the teacher, where it was measured.
        has_samples: whether there is a picture beside the card.
    """

    pipeline_class: str
    iteration: int
    revision: str | None = None
    precision: str = "float32"
    call: Mapping[str, object] = field(default_factory=dict)
    licence: Licence = field(default_factory=Licence)
    metrics: Mapping[str, float] = field(default_factory=dict)
    teacher: Mapping[str, float] = field(default_factory=dict)
    has_samples: bool = False


def model_card(config: RunConfig, facts: CardFacts) -> str:
    """README.md of the student.

    Args:
        config: the run.
        facts: of this export.
    """
    drawn_globally = config.student.noise == "fresh" and (
        facts.pipeline_class not in _HAND_ON_GENERATOR
    )
    parts = [
        _front_matter(config, facts.licence),
        f"# {config.name}",
        _summary(config, facts),
        f"![samples]({SAMPLES})" if facts.has_samples else "",
        "## Use",
        _snippet(config, facts),
        _FRESH_NOTE.strip() if drawn_globally else "",
        _OWN_SCHEDULER_NOTE.strip() if needs_own_scheduler(config.student) else "",
        "## Results" if facts.metrics else "",
        _results(config, facts),
        "## Training",
        _settings_table(config, facts.iteration),
        "## Licence",
        _licence_note(config, facts.licence),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(config: RunConfig, licence: Licence) -> str:
    data: dict[str, Any] = {
        "library_name": "diffusers",
        "pipeline_tag": "text-to-image",
        "tags": ["distillation", "sid-dit", "few-step"],
        **licence.front_matter,
    }
    if not config.teacher.model.startswith(("s3://", "/", ".")):
        data["base_model"] = config.teacher.model
    return f"---\n{yaml.safe_dump(data, sort_keys=False)}---"


def _summary(config: RunConfig, facts: CardFacts) -> str:
    steps = config.student.steps
    revision = f" (revision `{facts.revision}`)" if facts.revision else ""
    images = facts.iteration * config.training.batch_size
    aided = config.distillation.adversarial is not None
    return (
        f"A {steps}-step student of `{config.teacher.model}`{revision}, distilled "
        f"{'with the aid of' if aided else 'without'} images by score identity distillation "
        "(SiD-DiT, [arXiv 2509.25127](https://arxiv.org/abs/2509.25127)) over "
        f"{images:,} generated images. It samples in {_count(steps, 'step')} "
        "without classifier-free guidance."
    )


def _snippet(config: RunConfig, facts: CardFacts) -> str:
    further = "".join(f", {name}={value!r}" for name, value in facts.call.items())
    name = facts.pipeline_class
    before, after = _own_scheduler() if needs_own_scheduler(config.student) else ("", "")
    return (
        f"```python\n{before}"
        "import torch\n"
        f"from diffusers import {name}\n\n"
        f'pipe = {name}.from_pretrained("PATH", dtype=torch.{facts.precision})\n{after}'
        "torch.manual_seed(0)\n"
        f'image = pipe("a prompt", num_inference_steps={config.student.steps}, '
        f"guidance_scale=1.0{further}).images[0]\n"
        "```\n\n"
        "The arguments must be as shown: the student was trained for exactly these steps, without "
        "guidance."
    )


def _own_scheduler() -> tuple[str, str]:
    """Lines for the head of the snippet, and for after the loading of the pipeline."""
    module = OWN_SCHEDULER.removesuffix(".py")
    return (
        "import sys\n\n",
        'sys.path.append("PATH")  # a folder on disk\n'
        f"from {module} import FixedNoiseScheduler\n\n"
        "pipe.scheduler = FixedNoiseScheduler.from_config(pipe.scheduler.config)\n",
    )


def _results(config: RunConfig, facts: CardFacts) -> str:
    settings = config.evaluation.metrics
    if not facts.metrics or settings is None:
        return ""
    models = {
        "Samples": f"{settings.samples:,}",
        "Feature extractor": settings.fid and settings.fid.features,
        "CLIP model": settings.clip_score and settings.clip_score.model,
        "Preference model": settings.preference and settings.preference.model,
    }
    named = {name: f"`{value}`" for name, value in models.items() if value}
    return f"{_metrics_table(config, facts)}\n\n{_table('measured with', named)}"


def _metrics_table(config: RunConfig, facts: CardFacts) -> str:
    """The student's metrics, beside the teacher's where there are any."""
    rows = {_METRICS.get(name, name): f"{value:.4g}" for name, value in facts.metrics.items()}
    if not facts.teacher:
        return _table("metric", rows)
    known = {_METRICS.get(name, name): f"{value:.4g}" for name, value in facts.teacher.items()}
    sampling = config.evaluation.teacher
    guidance = sampling_scale(sampling, config.distillation.guidance)
    lines = [f"| {name} | {value} | {known.get(name, '–')} |" for name, value in rows.items()]
    student = _count(config.student.steps, "step")
    head = (
        f"| metric | student, {student} "
        f"| teacher, {_count(sampling.steps, 'step')} with guidance {guidance:g} |"
    )
    return "\n".join([head, "|---|---|---|", *lines])


def _settings_table(config: RunConfig, iteration: int) -> str:
    training, loss = config.training, config.distillation
    half_life, scales = training.ema.half_life_images, guidance_scales(loss.guidance)
    rows = {
        "Iterations": f"{iteration:,} of batch {training.batch_size}",
        "Noise levels": ", ".join(
            _level(config.student.steps, i) for i in range(config.student.steps)
        ),
        "Noise between steps": config.student.noise,
        "Loss": f"alpha {loss.alpha:g}, weighting {loss.weighting}",
        "Guidance while training": f"{loss.guidance.strategy}: fake score "
        f"{scales.fake_training:g} in its own training and {scales.fake:g} in the student's, "
        f"teacher {scales.teacher:g}",
        "Learning rates": f"student {training.learning_rate:g}, fake score "
        f"{training.fake_learning_rate or training.learning_rate:g}",
        "Precision": training.precision,
        "Weights": f"moving average, half-life {half_life:,} images"
        if half_life
        else "last iterate",
        "Seed": str(training.seed),
    }
    if (aided := loss.adversarial) is not None:
        rows["Adversarial loss"] = (
            f"{aided.pooling} pooling; weights {aided.sid_weight:g} (score identity), "
            f"{aided.generator_weight:g} (student), {aided.discriminator_weight:g} (discriminator)"
        )
    return _table("setting", rows)


def _table(kind: str, rows: Mapping[str, str]) -> str:
    lines = [f"| {name} | {value} |" for name, value in rows.items()]
    return "\n".join([f"| {kind} | value |", "|---|---|", *lines])


def _licence_note(config: RunConfig, licence: Licence) -> str:
    name = licence.front_matter.get("license_name") or licence.front_matter.get("license")
    told = f" It says: {name}." if name else ""
    texts = ", ".join(f"[{file.name}]({file.name})" for file in licence.files)
    carried = f" Its text is carried along: {texts}." if texts else ""
    forbids = (
        "\n\n**The teacher's licence allows no commercial use: nor may this student be used so.**"
        if licence.non_commercial
        else ""
    )
    return (
        f"The use of this model is bound by the licence of its teacher, `{config.teacher.model}`."
        f"{told}{carried}{forbids}"
    )


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


def _level(steps: int, index: int) -> str:
    value = 1 - index / steps
    return f"{value:g}" if math.isclose(value, round(value, 3)) else f"{value:.3f}"
