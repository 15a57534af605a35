"""Types, bounds and defaults as a person reads them."""

from __future__ import annotations

from typing import Any

import pytest

from sid_operator.crd import texts


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "integer", "minimum": 0, "maximum": 64}, "0 to 64"),
        ({"type": "integer", "minimum": 1}, "at least 1"),
        ({"type": "number", "maximum": 0.5}, "at most 0.5"),
        (
            {"type": "number", "minimum": 0.0, "exclusiveMinimum": True, "maximum": 1.0},
            "above 0, at most 1",
        ),
        ({"type": "number", "minimum": 0.0, "exclusiveMinimum": True}, "above 0"),
        ({"type": "string", "enum": ["a", "b"]}, "a, b"),
        ({"type": "string", "maxLength": 5}, "at most 5 characters"),
        ({"type": "array", "minItems": 1, "maxItems": 5}, "1 to 5 items"),
        ({"type": "object", "maxProperties": 5}, "at most 5 entries"),
        ({"type": "boolean"}, ""),
    ],
)
def test_bounds(schema: dict[str, Any], expected: str) -> None:
    assert texts.bounds(schema) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(2e-6, "2e-06"), (1.0, "1"), (4.5, "4.5"), (8, "8"), (False, "false"), ("bf16", "bf16")],
)
def test_default(value: Any, expected: str) -> None:
    assert texts.default({"default": value}) == expected


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "integer"}, "integer"),
        ({"type": "string", "format": "date-time"}, "time"),
        ({"x-kubernetes-int-or-string": True}, "quantity"),
        ({"type": "array", "items": {"type": "string"}}, "list of string"),
        ({"type": "object", "additionalProperties": {"type": "number"}}, "map of number"),
        ({"type": "object", "x-kubernetes-preserve-unknown-fields": True}, "any object"),
        ({"type": "object", "properties": {}}, "object"),
    ],
)
def test_type_name(schema: dict[str, Any], expected: str) -> None:
    assert texts.type_name(schema) == expected


def test_explained_fields_tell_default_and_range_at_every_level() -> None:
    leaf = {"type": "integer", "description": "A leaf.", "default": 3, "minimum": 1}
    schema: dict[str, Any] = {
        "properties": {
            "section": {
                "type": "object",
                "description": "A section.",
                "default": {"leaf": 3},
                "properties": {"leaf": leaf},
            }
        }
    }
    texts.tell_defaults(schema)
    assert schema["properties"]["section"]["description"] == "A section."
    assert leaf["description"] == "A leaf. Default: 3. Range: at least 1."
