"""Defaults that a later version changed.

The API server writes defaults into what it stores, so a resource carries those of the version under
which it was created. The hash of a run leaves today's defaults out: without this table, a default
that is changed would restart, at the upgrade, every run that has the former one.

Rule: what the hash leaves out of a field is its *first* default, for good. Fields of list items
cannot stand here: their defaults are not to be changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

from pydantic import BaseModel

from sid_operator.api.spec import SiDDistillationSpec

_M = TypeVar("_M", bound=BaseModel)

FIRST_DEFAULTS: Final[Mapping[str, Any]] = {"training.learning_rate": 2e-6}
"""By the path of the field, such as ``training.ema.half_life_images``."""


def with_first_defaults(
    spec: SiDDistillationSpec, table: Mapping[str, Any] = FIRST_DEFAULTS
) -> tuple[SiDDistillationSpec, dict[str, Any]]:
    """What to hash in place of a spec.

    Returns:
        The spec, in which a first default is replaced by today's; and the values that are today's
        default and not the first, by path: they would be left out.
    """
    added = {}
    for path, first in table.items():
        *sections, name = path.split(".")
        owner = _section(spec, sections)
        if owner is None:
            continue
        value = getattr(owner, name)
        today = type(owner).model_fields[name].get_default(call_default_factory=True)
        if value == first:
            spec = _replaced(spec, (*sections, name), today)
        elif value == today:
            added[path] = value
    return spec, added


def _section(model: BaseModel, path: Sequence[str]) -> BaseModel | None:
    """The section at a path, or None where an optional one is not given."""
    for name in path:
        inner = getattr(model, name)
        if inner is None:
            return None
        model = inner
    return model


def _replaced(model: _M, path: Sequence[str], value: object) -> _M:
    """A copy of the model with another value at a path."""
    name, *rest = path
    new = _replaced(getattr(model, name), rest, value) if rest else value
    return model.model_copy(update={name: new})
