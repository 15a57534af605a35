"""The section ``student``: what the run produces."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sid_trainer.config.base import NoiseMode, Section
from sid_trainer.config.file_uri import ModelPlace


class StudentConfig(Section):
    """The few-step generator that the run produces."""

    steps: int = Field(
        default=4,
        ge=1,
        le=8,
        description="Denoising steps K of the student. The noise levels are 1 - i/K.",
    )
    noise: NoiseMode = Field(
        default="fresh",
        description="Noise between two steps: fresh draws it anew, ddim takes the noise "
        "that the step implies (deterministic), fixed reuses the first. A student of fixed noise "
        "comes with a scheduler in a Python file, because diffusers has none for it.",
    )
    export_precision: Literal["fp32", "bf16"] | None = Field(
        default=None,
        description="Type in which the student's weights are written. Default: the type that "
        "training.precision computes in.",
    )
    init_from: ModelPlace | None = Field(
        default=None,
        description="An earlier student (same values as teacher.model) to start the student "
        "from. By default it starts as a copy of the teacher.",
    )
