"""Pydantic's JSON schema to Kubernetes' structural OpenAPI v3 schema.

Rules this module keeps:

* What the API server would refuse or silently drop is an error here, with the path of the field:
  unions, recursion, keywords that structural schemas do not have.
* Nothing of the models' strictness is lost: enums, bounds, patterns and descriptions stay; pruning
  does the work of ``additionalProperties: false``; checks on the keys of maps become CEL rules.
* Defaults are written out at every level, so that ``kubectl get -o yaml`` shows what holds; empty
  lists and maps are left out, as absent means the same.
* Below a list the models alone have them (:func:`drop_item_defaults`): a merge patch replaces a
  whole list, so that kubectl apply and Argo CD would find one with defaults changed each time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from sid_operator.api.fields import VALIDATIONS

Schema = dict[str, Any]

PRESERVE_UNKNOWN = "x-kubernetes-preserve-unknown-fields"
INT_OR_STRING = "x-kubernetes-int-or-string"
_KEPT = (
    "type",
    "format",
    "description",
    "enum",
    "default",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "pattern",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "required",
    INT_OR_STRING,
    VALIDATIONS,
)
_TRANSLATED = (
    "$ref",
    "anyOf",
    "const",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "additionalProperties",
    "properties",
    "propertyNames",
    "items",
)
_DROPPED = ("title", "examples", "$defs")


class UnsupportedSchemaError(ValueError):
    """A model uses something that a structural schema cannot say."""

    def __init__(self, path: str, what: str) -> None:
        super().__init__(f"{path or 'schema'}: {what}")


def structural_schema(model: type[BaseModel], *, defaults: bool = True) -> Schema:
    """The structural schema of ``model``, under its camelCase names.

    Args:
        model: the model; every field needs a description.
        defaults: whether defaults are written. A status has none: absent is not yet known.

    Raises:
        UnsupportedSchemaError: the model uses what a structural schema cannot say.
    """
    root = model.model_json_schema(by_alias=True)
    return _Converter(root.get("$defs", {}), defaults).convert(root, "", ())


def drop_item_defaults(schema: Schema, *, in_list: bool = False) -> None:
    """Remove the defaults of all fields of items of lists below ``schema``, in place."""
    if in_list:
        schema.pop("default", None)
    for field in schema.get("properties", {}).values():
        drop_item_defaults(field, in_list=in_list)
    for key in ("items", "additionalProperties"):
        if key in schema:
            drop_item_defaults(schema[key], in_list=in_list or key == "items")


@dataclass(frozen=True)
class _Converter:
    """Converts nodes of one JSON schema; ``path`` is for errors, ``trail`` finds recursion."""

    definitions: dict[str, Schema]
    defaults: bool

    def convert(self, node: Schema, path: str, trail: tuple[str, ...]) -> Schema:
        node, trail = self._without_indirection(node, path, trail)
        _refuse_unknown(node, path)
        result = {key: node[key] for key in _KEPT if key in node}
        _translate_numbers_and_enums(node, result)
        if not self.defaults or result.get("default") in (None, [], {}):
            result.pop("default", None)
        if "items" in node:
            result["items"] = self.convert(node["items"], f"{path}[]", trail)
        if node.get("type") == "object":
            self._convert_object(node, result, path, trail)
        return result

    def _without_indirection(
        self, node: Schema, path: str, trail: tuple[str, ...]
    ) -> tuple[Schema, tuple[str, ...]]:
        """Follow ``$ref`` and unwrap ``X | None``; what stands beside them wins."""
        while True:
            if "$ref" in node:
                name = node["$ref"].removeprefix("#/$defs/")
                if name in trail:
                    raise UnsupportedSchemaError(path, f"{name} contains itself")
                inner, trail = self.definitions[name], (*trail, name)
            elif "anyOf" in node:
                inner = _only_arm(node["anyOf"], path)
            else:
                return node, trail
            node = inner | {k: v for k, v in node.items() if k not in ("$ref", "anyOf")}

    def _convert_object(
        self, node: Schema, result: Schema, path: str, trail: tuple[str, ...]
    ) -> None:
        if properties := node.get("properties"):
            result["properties"] = {
                name: self._convert_property(node, name, f"{path}.{name}", trail)
                for name in properties
            }
            return
        values = node.get("additionalProperties", True)
        if values is True:
            result[PRESERVE_UNKNOWN] = True
            return
        result["additionalProperties"] = self.convert(values, f"{path}{{}}", trail)
        if rules := _rules_for_keys(node.get("propertyNames", {}), path):
            result[VALIDATIONS] = [*result.get(VALIDATIONS, []), *rules]

    def _convert_property(
        self, parent: Schema, name: str, path: str, trail: tuple[str, ...]
    ) -> Schema:
        source = parent["properties"][name]
        result = self.convert(source, path, trail)
        if not result.get("description"):
            raise UnsupportedSchemaError(path, "the field has no description")
        optional = name not in parent.get("required", []) and "anyOf" not in source
        if self.defaults and optional and (default := _expanded_default(result)):
            result["default"] = default
        return result


def _only_arm(arms: list[Schema], path: str) -> Schema:
    given = [arm for arm in arms if arm.get("type") != "null"]
    if len(given) != 1:
        raise UnsupportedSchemaError(path, "unions of several types cannot be structural")
    return given[0]


def _refuse_unknown(node: Schema, path: str) -> None:
    known = (*_KEPT, *_TRANSLATED, *_DROPPED)
    if unknown := [key for key in node if key not in known]:
        raise UnsupportedSchemaError(path, f"{', '.join(unknown)} is not known to Kubernetes")


def _translate_numbers_and_enums(node: Schema, result: Schema) -> None:
    if "const" in node:
        result["enum"] = [node["const"]]
    for bound, flag in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if flag in node:
            result[bound] = node[flag]
            result[flag] = True


def _rules_for_keys(names: Schema, path: str) -> list[dict[str, str]]:
    """CEL rules of a map for what ``propertyNames`` says, which structural schemas do not have."""
    rules = [
        {
            "rule": f"self.all(key, {rule['rule'].replace('self.', 'key.')})",
            "message": f"every key {rule['message']}",
        }
        for rule in names.get(VALIDATIONS, [])
    ]
    if "maxLength" in names:
        longest = names["maxLength"]
        rule = f"self.all(key, key.size() <= {longest})"
        rules.append({"rule": rule, "message": f"keys must be at most {longest} characters long"})
    if "pattern" in names and not rules:
        raise UnsupportedSchemaError(path, "a pattern of keys needs a message: use fields.Matches")
    return rules


def _expanded_default(schema: Schema) -> Any:
    """The value that stands for a field which was left out; ``None`` where there is none."""
    if "default" in schema:
        return schema["default"]
    if schema.get("required") or not schema.get("properties"):
        return None
    # A section that may be absent has none, whatever its own fields have.
    parts = schema["properties"].items()
    return {name: part["default"] for name, part in parts if part.get("default") not in (None, {})}
