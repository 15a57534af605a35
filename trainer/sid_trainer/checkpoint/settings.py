"""Which settings a run must have in common with the checkpoint it resumes from.

Rules this module keeps:

* What binds the state (:mod:`sid_trainer.config.binding`) must be equal; the rest may change
  between two attempts.
* A checkpoint from before a setting existed has its default: so the default of a new setting must
  be what the program did without it.
* A refusal names each setting and both values.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import ValidationError

from sid_trainer.config import (
    BINDING,
    FREE,
    DataConfig,
    DistillationConfig,
    RunConfig,
    Section,
    StudentConfig,
    TeacherConfig,
    TrainingConfig,
)

_EXCLUDED = {section: set(names) for section, names in FREE.items()}


class _Bound(Section):
    """The sections that bind a checkpoint."""

    teacher: TeacherConfig
    student: StudentConfig
    distillation: DistillationConfig
    data: DataConfig
    training: TrainingConfig


def resume_settings(config: RunConfig) -> dict[str, Any]:
    """The settings of a run that bind its checkpoints, as in the file."""
    return config.model_dump(mode="json", by_alias=True, include=set(BINDING), exclude=_EXCLUDED)


def completed(settings: dict[str, Any]) -> dict[str, Any]:
    """Stored settings with the defaults of settings that are newer than they are.

    Settings that are none of this program's are returned as they are: they differ from all of its.
    """
    try:
        bound = _Bound.model_validate(settings)
    except ValidationError:
        return settings
    return bound.model_dump(mode="json", by_alias=True, exclude=_EXCLUDED)


def digest(settings: dict[str, Any]) -> str:
    """Checksum of the settings in hex."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def differences(ours: Any, theirs: Any, path: str = "") -> list[str]:
    """Each setting that differs, as ``path: now X, in the checkpoint Y``."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return [
            line
            for key in sorted(ours.keys() | theirs.keys())
            for line in differences(
                ours.get(key), theirs.get(key), f"{path}.{key}" if path else key
            )
        ]
    return [] if ours == theirs else [f"{path}: now {ours!r}, in the checkpoint {theirs!r}"]
