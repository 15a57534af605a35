"""An upgrade of the operator restarts no run: the hash of what is stored stays what it was.

``stored_spec.yaml`` is a spec as the API server of this version stores it, every default written
out. It keeps the defaults of its time; new fields are added to it.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from sid_operator.api.spec import SiDDistillationSpec
from sid_operator.crd.schema import structural_schema
from sid_operator.plan.resource import resource_of
from sid_operator.resources.first_defaults import with_first_defaults
from sid_operator.resources.metadata import run_hash
from sid_operator.resources.run import Installed
from tests.unit.operator import world

STORED: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("stored_spec.yaml").read_text())
HASH = "98b00ce4859f19c4"
CHANGED = (
    "Every run that goes on would be restarted by the upgrade. If the default of a field was "
    "changed, put its first one into sid_operator.resources.first_defaults; if a field was renamed "
    "or removed, or the hash is made otherwise, keep the hash of what is stored. HASH is never "
    "adapted, but where stored_spec.yaml itself gets a value that is no default."
)
INCOMPLETE = "Add the defaults of new fields to stored_spec.yaml, as given here; change none."


def defaulted(schema: dict[str, Any], value: Any) -> Any:
    """A value with the defaults of a structural schema, as the API server writes them in."""
    if isinstance(value, list):
        return [defaulted(schema["items"], item) for item in value]
    if not isinstance(value, dict) or "properties" not in schema:
        return value
    result = copy.deepcopy(value)
    for name, part in schema["properties"].items():
        if name not in result and "default" in part:
            result[name] = copy.deepcopy(part["default"])
        if name in result:
            result[name] = defaulted(part, result[name])
    return result


def test_the_stored_spec_has_every_default() -> None:
    assert defaulted(structural_schema(SiDDistillationSpec), STORED) == STORED, INCOMPLETE


def test_every_section_is_in_the_stored_spec() -> None:
    """A section that may be absent has defaults too, once somebody writes it."""

    def absent(schema: dict[str, Any], value: Any, path: str) -> list[str]:
        if isinstance(value, list):
            return absent(schema["items"], value[0], f"{path}[]")
        found = []
        for name, part in schema.get("properties", {}).items():
            items = part.get("items", part)
            if name in value and value[name] not in ([], {}):
                found += absent(part, value[name], f"{path}.{name}")
            elif "default" in str(items.get("properties", {})):
                found.append(f"{path}.{name}")
        return found

    assert absent(structural_schema(SiDDistillationSpec), STORED, "spec") == []


def test_the_hash_of_what_is_stored_stays() -> None:
    raw = world.raw()
    raw["spec"] = STORED
    read = resource_of(raw, default=Installed())
    assert read.run is not None, read.problem
    assert run_hash(read.run) == HASH, CHANGED


@pytest.mark.parametrize(
    ("path", "former", "spec"),
    [
        ("student.steps", 2, {"student": {"steps": 2}}),
        ("training.ema.half_life_images", 5, {"training": {"ema": {"halfLifeImages": 5}}}),
    ],
)
def test_a_default_that_is_changed_restarts_no_run(
    path: str, former: object, spec: dict[str, Any]
) -> None:
    """Seen from the version that changed it: the former default was another than today's."""

    def hashed(**wanted: Any) -> tuple[Any, dict[str, Any]]:
        training = world.raw()["spec"]["training"] | wanted.pop("training", {})
        of = world.run(training=training, **wanted)
        used, added = with_first_defaults(of.spec, {path: former})
        return used.model_dump(exclude_defaults=True), added

    before = world.run().spec.model_dump(exclude_defaults=True)  # as when it was the default
    assert hashed(**spec) == (before, {})
    assert hashed() != hashed(**spec)  # today's default is another value
    assert list(hashed()[1]) == [path]


def test_an_absent_section_has_no_first_defaults() -> None:
    spec = world.run().spec
    assert with_first_defaults(spec, {"distillation.adversarial.sid_weight": 1}) == (spec, {})
