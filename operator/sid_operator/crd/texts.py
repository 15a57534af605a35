"""Texts made from a schema: what ``kubectl explain`` and the API reference say beside descriptions.

Rule: defaults and bounds are told from the schema and never written into descriptions by hand.
``kubectl explain`` shows neither by itself, so :func:`tell_defaults` appends them.
"""

from __future__ import annotations

import json
from typing import Any

from sid_operator.crd.schema import INT_OR_STRING, PRESERVE_UNKNOWN, Schema


def number(value: float) -> str:
    """A number as a person writes it: ``500000``, ``0.5``, ``2e-06``."""
    return str(int(value)) if float(value).is_integer() else repr(value)


def type_name(schema: Schema) -> str:
    """The type of a field in a word or two."""
    if INT_OR_STRING in schema:
        return "quantity"
    if schema["type"] == "array":
        return f"list of {type_name(schema['items'])}"
    if schema["type"] == "object" and "additionalProperties" in schema:
        return f"map of {type_name(schema['additionalProperties'])}"
    if PRESERVE_UNKNOWN in schema:
        return "any object"
    return "time" if schema.get("format") == "date-time" else str(schema["type"])


def bounds(schema: Schema) -> str:
    """The range of a number, the values of an enum, the lengths of texts and lists; else empty."""
    if INT_OR_STRING in schema:
        return ""
    if "enum" in schema:
        return ", ".join(str(value) for value in schema["enum"])
    if "minimum" in schema or "maximum" in schema:
        return _range(schema)
    for unit, low, high in (
        ("characters", "minLength", "maxLength"),
        ("items", "minItems", "maxItems"),
        ("entries", "minProperties", "maxProperties"),
    ):
        if high in schema:
            least = schema.get(low, 0)
            return f"{f'{least} to ' if least else 'at most '}{schema[high]} {unit}"
    return ""


def _range(schema: Schema) -> str:
    low = number(schema["minimum"]) if "minimum" in schema else None
    high = number(schema["maximum"]) if "maximum" in schema else None
    above = "above " if schema.get("exclusiveMinimum") else ""
    if low is None:
        return f"at most {high}"
    if high is None:
        return f"{above or 'at least '}{low}"
    return f"{above}{low}{', at most ' if above else ' to '}{high}"


def default(schema: Schema) -> str:
    """The default of a field that is not an object of further fields; else empty."""
    value: Any = schema.get("default")
    if value is None or "properties" in schema:
        return ""
    if isinstance(value, float):
        return number(value)
    return value if isinstance(value, str) else json.dumps(value)


def tell_defaults(schema: Schema) -> None:
    """Append default and range to the descriptions of all fields below ``schema``, in place."""
    for field in schema.get("properties", {}).values():
        told = []
        if value := default(field):
            told.append(f"Default: {value}.")
        if field.get("type") in ("integer", "number"):
            told.append(f"Range: {bounds(field)}.")
        field["description"] = " ".join([field["description"], *told])
        tell_defaults(field)
        tell_defaults(field.get("items", {}))
