"""The families of digits teachers, and how a pipeline directory finds its own."""

from __future__ import annotations

from pathlib import Path

from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.digits.families.base import DigitsFamily, Encodings, TeacherRecipe
from sid_trainer.digits.families.flux import FluxDigits
from sid_trainer.digits.families.sana import SanaDigits
from sid_trainer.digits.families.sd3 import SD3Digits
from sid_trainer.models.pipeline_index import read_index

__all__ = ["FAMILIES", "DigitsFamily", "Encodings", "TeacherRecipe", "family_of"]

FAMILIES: dict[str, DigitsFamily] = {
    "sd3": SD3Digits(),
    "sana": SanaDigits(),
    "flux": FluxDigits(),
}


def family_of(directory: Path) -> DigitsFamily:
    """Return the family of a pipeline directory.

    Raises:
        TrainerError: as :func:`~sid_trainer.models.pipeline_index.read_index`;
            ``InvalidConfiguration`` when it is of no family of digits teachers.
    """
    name = read_index(directory, str(directory))["_class_name"]
    for family in FAMILIES.values():
        if family.pipeline_class.__name__ == name:
            return family
    raise TrainerError(
        FailureReason.INVALID_CONFIGURATION,
        f"{directory} holds a {name}: give a digits teacher or a student of one "
        f"({', '.join(FAMILIES)})",
    )
