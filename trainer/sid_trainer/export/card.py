"""The model card that goes with a student. A pure text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from sid_trainer.config import RunConfig
from sid_trainer.export.card_tables import count, measurement_table, metrics_table, settings_table
from sid_trainer.export.licence import Licence
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


@dataclass(frozen=True)
class CardFacts:
    """What a card says of one export.

    Attributes:
        pipeline_class: diffusers class that loads the student.
        iteration: finished iterations.
        revision: of the teacher, as found or configured.
        on_hub: whether the teacher came from the Hugging Face Hub.
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
    on_hub: bool = False
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
    draws = config.student.noise == "fresh" and config.student.steps > 1
    drawn_globally = draws and facts.pipeline_class not in _HAND_ON_GENERATOR
    parts = [
        _front_matter(config, facts),
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
        settings_table(config, facts.iteration),
        "## Licence",
        _licence_note(config, facts.licence),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(config: RunConfig, facts: CardFacts) -> str:
    data: dict[str, Any] = {
        "library_name": "diffusers",
        "pipeline_tag": "text-to-image",
        "tags": ["distillation", "sid-dit", "few-step"],
        **facts.licence.front_matter,
    }
    if facts.on_hub:
        data["base_model"] = config.teacher.model
    return f"---\n{yaml.safe_dump(data, sort_keys=False)}---"


def _summary(config: RunConfig, facts: CardFacts) -> str:
    steps = config.student.steps
    revision = f" (revision `{facts.revision}`)" if facts.revision else ""
    images = facts.iteration * config.training.batch_size
    aided = config.distillation.adversarial is not None
    begun = config.student.init_from
    first = f", begun from the student `{begun}`" if begun else ""
    return (
        f"A {steps}-step student of `{config.teacher.model}`{revision}, distilled "
        f"{'with the aid of' if aided else 'without'} images by score identity distillation "
        "(SiD-DiT, [arXiv 2509.25127](https://arxiv.org/abs/2509.25127)) over "
        f"{images:,} generated images{first}. It samples in {count(steps, 'step')} "
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
    measured = metrics_table(config, facts.metrics, facts.teacher)
    return f"{measured}\n\n{measurement_table(settings)}"


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
