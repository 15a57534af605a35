"""What a live resource keeps as it was created, in CEL.

Rules this module keeps:

* A field that decides what is trained is immutable: a checkpoint would no longer belong to the run
  (:mod:`sid_trainer.config.binding`). The message names it and says so.
* ``self == oldSelf`` on an optional field is passed by by removing the field first, so rules stand
  on the parent, which is required or has a default, and compare presence too.
"""

from __future__ import annotations

from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo

from sid_operator.crd.rule import Rule
from sid_trainer.config import FREE, DataConfig, Section, StudentConfig, TrainingConfig

IS_IMMUTABLE = " is immutable, because "
_IDENTITY = "checkpoints of the run so far would not fit"
_PLACE = "the run's checkpoints lie there"


def _unchanged(path: str, name: str, why: str, *, optional: bool = False) -> Rule:
    """A field of ``path`` (or, without a name, all of it) stays as it was created."""
    same = f"self.{name} == oldSelf.{name}" if name else "self == oldSelf"
    if optional:
        same = f"has(self.{name}) == has(oldSelf.{name}) && (!has(self.{name}) || {same})"
    field = ".".join(filter(None, (path.removeprefix("spec."), name)))
    return Rule(
        path,
        same,
        f"{field}{IS_IMMUTABLE}{why}: delete the resource and create it under another "
        "name, or under the same after removing its folder from the bucket",
    )


def _bound(section: str, model: type[Section]) -> tuple[Rule, ...]:
    """What binds a checkpoint in a section stays as it was created."""
    return tuple(
        _unchanged(f"spec.{section}", to_camel(name), _IDENTITY, optional=_may_be_absent(field))
        for name, field in model.model_fields.items()
        if name not in FREE[section]
    )


def _may_be_absent(field: FieldInfo) -> bool:
    """Whether a stored resource may lack it: the API server fills in any other default."""
    return not field.is_required() and field.get_default(call_default_factory=True) is None


IMMUTABLE = (
    _unchanged("spec.teacher", "model", _IDENTITY),
    _unchanged("spec.teacher", "family", _IDENTITY, optional=True),
    _unchanged("spec.teacher", "revision", _IDENTITY, optional=True),
    _unchanged("spec.distillation", "", _IDENTITY),
    *_bound("student", StudentConfig),
    *_bound("data", DataConfig),
    *_bound("training", TrainingConfig),
    _unchanged("spec.checkpoint", "bucket", _PLACE),
    _unchanged("spec.checkpoint", "endpoint", _PLACE, optional=True),
    _unchanged("spec.checkpoint", "prefix", _PLACE, optional=True),
)
