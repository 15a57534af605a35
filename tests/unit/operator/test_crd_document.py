"""The generated CRD as a whole: fresh, bounded, described, and with its rules in place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sid_operator.crd import reference
from sid_operator.crd.__main__ import generated_files, main, stale_files, write_files
from sid_operator.crd.document import custom_resource_definition, resource_schema
from sid_operator.crd.rules import RULES, find

REPOSITORY = Path(__file__).resolve().parents[3]
Node = tuple[str, dict[str, Any]]


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[Node]:
    """Every part of a schema with its path."""
    yield path, schema
    for name, part in schema.get("properties", {}).items():
        yield from nodes(part, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from nodes(schema[key], f"{path}[]")


FIELDS = [node for node in nodes(resource_schema()) if node[0].startswith((".spec", ".status"))]
SPEC = [node for node in FIELDS if node[0].startswith(".spec")]


def test_generated_files_are_fresh() -> None:
    assert stale_files(REPOSITORY) == [], "run `make crds`"


def test_check_fails_when_a_file_is_stale_or_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pyproject.toml").touch()
    assert main(["--check", "--root", str(tmp_path)]) == 1
    assert main(["--root", str(tmp_path)]) == 0
    assert main(["--check", "--root", str(tmp_path)]) == 0
    stale = next(iter(generated_files()))
    (tmp_path / stale).write_text("changed by hand")
    capsys.readouterr()
    assert main(["--check", "--root", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"{stale} is stale: run `make crds`\n"


def test_another_folder_than_the_repository_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["--root", str(tmp_path)])
    assert "is not the root of the repository" in capsys.readouterr().err


def test_files_say_the_same_when_read_back(tmp_path: Path) -> None:
    write_files(tmp_path)
    [crd] = (tmp_path / "crds").iterdir()
    assert yaml.safe_load(crd.read_text()) == custom_resource_definition()


def test_interface_names() -> None:
    spec = custom_resource_definition()["spec"]
    assert (spec["group"], spec["scope"]) == ("sid-dit.dev", "Namespaced")
    assert spec["names"]["plural"] == "siddistillations"
    assert spec["names"]["shortNames"] == ["sid"]
    [version] = spec["versions"]
    assert version["name"] == "v1alpha1"
    assert version["subresources"] == {"status": {}}
    narrow = [c["name"] for c in version["additionalPrinterColumns"] if not c.get("priority")]
    wide = [c["name"] for c in version["additionalPrinterColumns"] if c.get("priority")]
    assert narrow == ["Teacher", "Phase", "Iteration", "Progress", "Restarts", "Age"]
    assert wide == ["Loss", "FID", "ETA", "Student"]


@pytest.mark.parametrize(("path", "schema"), FIELDS, ids=[path for path, _ in FIELDS])
def test_every_field_is_described_and_bounded(path: str, schema: dict[str, Any]) -> None:
    if not path.endswith("[]"):
        assert schema["description"].endswith((".", ")"))
    kind = schema.get("type")
    if kind == "string":
        assert "maxLength" in schema or "enum" in schema or "format" in schema
    if kind == "array":
        assert "maxItems" in schema
    if "additionalProperties" in schema:
        assert "maxProperties" in schema
    if kind in ("integer", "number") and path.startswith(".spec"):
        assert "minimum" in schema or "enum" in schema


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.path}: {rule.message[:30]}")
def test_rule_stands_in_the_schema_and_tells_a_remedy(rule: Any) -> None:
    part = find(resource_schema(), rule.path)
    assert rule.as_validation() in part["x-kubernetes-validations"]
    remedies = ("choose", "remove", "use", "change", "give", "delete", "set", "raise", "must be")
    assert any(word in rule.message for word in remedies)
    if rule.field:
        find(part, rule.field)


def test_transition_rules_stand_where_the_value_cannot_be_absent() -> None:
    """``self == oldSelf`` on an optional value is passed by by removing the value first."""
    for rule in (rule for rule in RULES if "oldSelf" in rule.rule):
        parent, _, name = rule.path.rpartition(".")
        section = find(resource_schema(), rule.path)
        assert name in find(resource_schema(), parent).get("required", []) or "default" in section


def test_default_of_each_section_is_that_of_its_fields() -> None:
    for path, schema in SPEC:
        for name, part in schema.get("properties", {}).items():
            if "properties" in part and "default" in part:
                for field, value in part["default"].items():
                    assert part["properties"][field]["default"] == value, f"{path}.{name}"


def test_conditions_are_merged_by_type() -> None:
    conditions = find(resource_schema(), "status.conditions")
    assert conditions["x-kubernetes-list-type"] == "map"
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]


def test_unknown_path_of_a_rule_is_an_error() -> None:
    with pytest.raises(KeyError):
        find(resource_schema(), "spec.workers.nodez")


def test_reference_has_a_row_for_every_field() -> None:
    text = reference.api_reference()
    for path, _schema in FIELDS:
        section, _, name = path.rpartition(".")
        if name.endswith("[]") or not section:
            continue
        part = text.split(f"## {section[1:]}\n", 1)[1].split("\n## ", 1)[0]
        assert f"| {name} |" in part or f"| **{name}** |" in part


def test_reference_links_lead_to_sections() -> None:
    text = reference.api_reference()
    headings = {
        line[3:].replace(".", "").replace("[]", "").lower()
        for line in text.splitlines()
        if line.startswith("## ")
    }
    links = {part.split(")")[0] for part in text.split("](#")[1:]}
    assert links
    assert links <= headings


def test_no_item_of_a_list_has_a_default_that_the_api_server_writes() -> None:
    """A merge patch replaces the list, without it: kubectl apply would never find it unchanged."""
    (version,) = custom_resource_definition()["spec"]["versions"]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    assert [path for path, part in nodes(spec) if "[]" in path and "default" in part] == []
    workers = spec["properties"]["workers"]["properties"]
    for name, field, told in (
        ("volumes", "readOnly", "Default: true."),
        ("tolerations", "operator", "Default: Equal."),
        ("nodeAffinity", "operator", "Default: In."),
    ):
        assert told in workers[name]["items"]["properties"][field]["description"]
    assert workers["gpusPerNode"]["default"] == 8, "outside of lists they are written"


def test_the_api_reference_tells_the_defaults_of_items() -> None:
    assert "| readOnly | boolean | `true` |" in reference.api_reference()
