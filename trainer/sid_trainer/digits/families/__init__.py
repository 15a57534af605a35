"""The families of digits teachers, and how a pipeline directory finds its own."""

from __future__ import annotations

import json
from pathlib import Path

from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.digits.families.base import DigitsFamily, Encodings, TeacherRecipe
from sid_trainer.digits.families.flux import FluxDigits
from sid_trainer.digits.families.sana import SanaDigits
from sid_trainer.digits.families.sd3 import SD3Digits

__all__ = ["FAMILIES", "DigitsFamily", "Encodings", "TeacherRecipe", "family_of"]

FAMILIES: dict[str, DigitsFamily] = {
    "sd3": SD3Digits(),
    "sana": SanaDigits(),
    "flux": FluxDigits(),
}


def family_of(directory: Path) -> DigitsFamily:
    """Return the family of a pipeline directory.

    Raises:
        TrainerError: ``NotFound`` when the directory holds no pipeline, ``InvalidConfiguration``
            when it is of no family of digits teachers.
    """
    index = directory / "model_index.json"
    if not index.is_file():
        raise TrainerError(
            FailureReason.NOT_FOUND,
            f"{directory} holds no model_index.json: give the directory of a diffusers pipeline",
        )
    name = json.loads(index.read_text(encoding="utf-8")).get("_class_name")
    for family in FAMILIES.values():
        if family.pipeline_class.__name__ == name:
            return family
    raise TrainerError(
        FailureReason.INVALID_CONFIGURATION,
        f"{directory} holds a {name}: give a digits teacher or a student of one "
        f"({', '.join(FAMILIES)})",
    )
