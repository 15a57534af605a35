"""The teacher families, and how a pipeline directory finds its own."""

from __future__ import annotations

from pathlib import Path

import torch

from sid_trainer.config import Family, TeacherConfig
from sid_trainer.config.families import family_of
from sid_trainer.models.pipeline_index import read_index
from sid_trainer.teachers.base import Teacher
from sid_trainer.teachers.flux import FluxTeacher
from sid_trainer.teachers.sana import SanaTeacher
from sid_trainer.teachers.sana_sprint import SanaSprintTeacher
from sid_trainer.teachers.sd3 import SD3Teacher

__all__ = ["ADAPTERS", "Teacher", "open_teacher"]

ADAPTERS: dict[Family, type[Teacher]] = {
    "sd3": SD3Teacher,
    "sana": SanaTeacher,
    "sana-sprint": SanaSprintTeacher,
    "flux": FluxTeacher,
}
"""The adapter of each family."""


def open_teacher(
    config: TeacherConfig, directory: Path, device: torch.device, dtype: torch.dtype
) -> Teacher:
    """The adapter of a downloaded teacher.

    Raises:
        TrainerError: as :func:`~sid_trainer.models.pipeline_index.read_index`;
            ``InvalidConfiguration`` when no family, or not ``teacher.family``, has the pipeline.
    """
    family = family_of(read_index(directory)["_class_name"], config.family)
    return ADAPTERS[family](directory, device, dtype)
