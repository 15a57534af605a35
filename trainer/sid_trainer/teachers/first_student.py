"""Whether the network of a first student (``student.initFrom``) is one of the teacher's.

Tensors alone do not tell: the scale of the time has none, for instance, and a network that has more
of them than the teacher's would be read in part.

Rules this module keeps:

* What the network's class takes is compared, its defaults filled in: files of an older diffusers
  have fewer entries. Other entries (names, versions, quantization) are no settings.
* A student has the teacher's settings, or those with which :meth:`.base.Teacher.exported` writes
  students.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.models.pipeline_index import component_config
from sid_trainer.teachers.base import Teacher

_FREE = frozenset({"sample_size", "out_channels"})
"""The size of latents a network was made for, which may be another; and what shapes of tensors
tell, while its entry may be empty."""
_CLASS = "_class_name"


def require_same_architecture(teacher: Teacher, first: Path, model: str) -> None:
    """Raise unless the student's network is of the teacher's architecture.

    Args:
        teacher: the teacher.
        first: pipeline directory of the student.
        model: the teacher's ``teacher.model``, for the message.

    Raises:
        TrainerError: ``InvalidConfiguration``, naming the first setting that is another.
    """
    theirs = component_config(first, teacher.network_folder, "student.initFrom")
    found = _settings(teacher, theirs)
    own = _settings(teacher, teacher.network_config)
    exported = _settings(teacher, teacher.network_config | dict(teacher.exported_settings))
    for name, value in found.items():
        if value not in (own[name], exported[name]):
            raise TrainerError(
                FailureReason.INVALID_CONFIGURATION,
                f"it is of another architecture than teacher.model {model}: {name} of its "
                f"{teacher.network_folder}/config.json is {json.dumps(value)[:100]}, and the "
                f"teacher's is {json.dumps(own[name])[:100]}; start from a student of this teacher "
                "or of one like it, or leave student.initFrom out (a run that has checkpoints "
                "needs another storage folder then)",
            )


def _settings(teacher: Teacher, config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a network that decide what it computes, as JSON has them, by name."""
    taken = inspect.signature(teacher.network_class.__init__).parameters.values()
    defaults = {each.name: each.default for each in taken if each.default is not each.empty}
    names = defaults.keys() - _FREE
    name_of_class = config.get(_CLASS, teacher.network_class.__name__)
    settings = {name: config.get(name, defaults[name]) for name in sorted(names)}
    decided: dict[str, Any] = json.loads(json.dumps({_CLASS: name_of_class, **settings}))
    return decided
