"""The teacher families, and how a pipeline directory finds its own."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from sid_trainer.config import Family, TeacherConfig
from sid_trainer.config.families import family_of
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.teachers.base import Teacher
from sid_trainer.teachers.flux import FluxTeacher
from sid_trainer.teachers.sana import SanaTeacher
from sid_trainer.teachers.sana_sprint import SanaSprintTeacher
from sid_trainer.teachers.sd3 import SD3Teacher

__all__ = ["ADAPTERS", "Teacher", "find_family", "open_teacher"]

ADAPTERS: dict[Family, type[Teacher]] = {
    "sd3": SD3Teacher,
    "sana": SanaTeacher,
    "sana-sprint": SanaSprintTeacher,
    "flux": FluxTeacher,
}
"""The adapter of each family."""


def find_family(directory: Path) -> Family:
    """Family of a pipeline directory, from its model_index.json.

    Raises:
        TrainerError: ``NotFound`` without a model_index.json, ``InvalidConfiguration`` when no
            family has that pipeline.
    """
    return family_of(_pipeline_name(directory))


def open_teacher(
    config: TeacherConfig, directory: Path, device: torch.device, dtype: torch.dtype
) -> Teacher:
    """The adapter of a downloaded teacher.

    Raises:
        TrainerError: when ``teacher.family`` cannot open the directory, or as :func:`find_family`.
    """
    family = family_of(_pipeline_name(directory), config.family)
    return ADAPTERS[family](directory, device, dtype)


def _pipeline_name(directory: Path) -> str | None:
    index = directory / "model_index.json"
    if not index.is_file():
        raise TrainerError(
            FailureReason.NOT_FOUND,
            "teacher.model is not a diffusers pipeline: it has no model_index.json",
        )
    name: str | None = json.loads(index.read_text(encoding="utf-8")).get("_class_name")
    return name
