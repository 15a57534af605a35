"""Every construct of pydantic, as a structural schema; and what cannot become one."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from sid_operator.api.fields import Matches
from sid_operator.api.quantities import Quantity
from sid_operator.crd.schema import UnsupportedSchemaError, structural_schema

DIGITS = Matches(r"^[0-9]+$", "must be digits")


class Colour(enum.StrEnum):
    """A colour."""

    RED = "Red"
    BLUE = "Blue"


class Inner(BaseModel):
    """What is inside."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")

    half_life: int = Field(default=3, ge=0, description="A half-life.")
    word: str | None = Field(default=None, description="A word.")


class Needy(BaseModel):
    """Has a field without default."""

    name: str = Field(description="A name.")


def field_schema(annotation: Any, **field: Any) -> dict[str, Any]:
    """The schema of the only field of a model."""
    field.setdefault("description", "A field.")
    namespace = {"__annotations__": {"x": annotation}, "x": Field(**field), "__module__": __name__}
    model = type("Model", (BaseModel,), namespace)
    schema: dict[str, Any] = structural_schema(model)["properties"]["x"]
    assert schema.pop("description") == field["description"]
    return schema


@pytest.mark.parametrize(
    ("annotation", "field", "expected"),
    [
        (str, {"max_length": 5}, {"type": "string", "maxLength": 5}),
        (str, {"pattern": "^a$"}, {"type": "string", "pattern": "^a$"}),
        (bool, {"default": False}, {"type": "boolean", "default": False}),
        (int, {"default": 0, "ge": 0}, {"type": "integer", "default": 0, "minimum": 0}),
        (float, {"gt": 0}, {"type": "number", "minimum": 0, "exclusiveMinimum": True}),
        (float, {"lt": 1}, {"type": "number", "maximum": 1, "exclusiveMaximum": True}),
        (int | None, {"default": None, "ge": 1}, {"type": "integer", "minimum": 1}),
        (Literal[3], {"default": 3}, {"type": "integer", "enum": [3], "default": 3}),
        (Literal["a", "b"] | None, {"default": None}, {"type": "string", "enum": ["a", "b"]}),
        (Colour, {}, {"type": "string", "enum": ["Red", "Blue"]}),
        (datetime, {}, {"type": "string", "format": "date-time"}),
        (
            list[Annotated[str, Field(max_length=2)]],
            {"default_factory": list, "max_length": 4},
            {"type": "array", "maxItems": 4, "items": {"type": "string", "maxLength": 2}},
        ),
        (
            dict[str, int],
            {"default_factory": dict, "max_length": 4},
            {
                "type": "object",
                "maxProperties": 4,
                "additionalProperties": {"type": "integer"},
            },
        ),
        (
            dict[str, Any],
            {"default_factory": dict},
            {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        ),
        (
            Annotated[str, DIGITS],
            {},
            {
                "type": "string",
                "x-kubernetes-validations": [
                    {"rule": "self.matches(r'^[0-9]+$')", "message": "must be digits"}
                ],
            },
        ),
        (
            dict[Annotated[str, Field(max_length=9), DIGITS], bool],
            {},
            {
                "type": "object",
                "additionalProperties": {"type": "boolean"},
                "x-kubernetes-validations": [
                    {
                        "rule": "self.all(key, key.matches(r'^[0-9]+$'))",
                        "message": "every key must be digits",
                    },
                    {
                        "rule": "self.all(key, key.size() <= 9)",
                        "message": "keys must be at most 9 characters long",
                    },
                ],
            },
        ),
    ],
)
def test_field(annotation: Any, field: dict[str, Any], expected: dict[str, Any]) -> None:
    assert field_schema(annotation, **field) == expected


def test_quantity_is_a_number_or_a_text_without_a_type() -> None:
    schema = field_schema(Quantity, default="8Gi")
    assert schema.pop("pattern").startswith("^")
    assert schema == {
        "x-kubernetes-int-or-string": True,
        "minimum": 0,
        "maxLength": 32,
        "default": "8Gi",
    }


def test_reference_is_inlined_and_the_fields_own_description_wins() -> None:
    schema = field_schema(Inner, description="Of the field.", default_factory=Inner)
    assert "$ref" not in schema
    assert schema["properties"]["halfLife"]["minimum"] == 0
    assert "additionalProperties" not in schema


def test_default_of_a_section_is_written_out() -> None:
    assert field_schema(Inner, default_factory=Inner)["default"] == {"halfLife": 3}


def test_optional_section_has_no_default() -> None:
    assert "default" not in field_schema(Inner | None, default=None)


def test_section_with_required_fields_has_no_default() -> None:
    schema = field_schema(Needy)
    assert "default" not in schema
    assert schema["required"] == ["name"]


def test_list_of_sections() -> None:
    schema = field_schema(list[Inner], default_factory=list)
    assert set(schema["items"]["properties"]) == {"halfLife", "word"}


def test_status_has_no_defaults() -> None:
    schema = structural_schema(Inner, defaults=False)
    assert "default" not in schema["properties"]["halfLife"]


class Tree(BaseModel):
    """Contains itself."""

    children: list[Tree] = Field(default_factory=list, description="More of it.")


@pytest.mark.parametrize(
    ("annotation", "field", "message"),
    [
        (int | str, {}, "unions of several types"),
        (Inner | Needy, {}, "unions of several types"),
        (tuple[int, str], {}, "prefixItems"),
        (set[str], {}, "uniqueItems"),
        (int, {"multiple_of": 8}, "multipleOf"),
        (int, {"description": ""}, "no description"),
        (Tree, {}, "contains itself"),
        (dict[Annotated[str, Field(pattern="^a$")], int], {}, "patternProperties"),
    ],
)
def test_what_cannot_be_structural_is_refused_with_its_path(
    annotation: Any, field: dict[str, Any], message: str
) -> None:
    with pytest.raises(UnsupportedSchemaError, match=message) as refused:
        field_schema(annotation, **field)
    assert str(refused.value).startswith(".x")
