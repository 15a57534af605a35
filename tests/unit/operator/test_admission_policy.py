"""The chart's admission policy asks about all that a resource has: its text against the CRD.

What the API server makes of it is tested in ``tests/cluster/test_security.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sid_operator.crd.document import resource_schema

CHART = Path(__file__).parents[3] / "charts" / "sid-operator"
TEMPLATE = (CHART / "templates" / "admission-policy.yaml").read_text()
SPEC: dict[str, Any] = resource_schema()["properties"]["spec"]
HARMLESS = {"training", "scheduling", "runPolicy"}
"""Sections that say neither what runs with a Secret nor where it goes."""
QUESTIONS = 28
"""That the API server allows for: each costs 350,000 of a budget of 10,000,000."""


def found(pattern: str) -> str:
    """What the one group of a pattern matches in the template."""
    match = re.search(pattern, TEMPLATE)
    assert match is not None, pattern
    return match[1]


def secrets(schema: dict[str, Any], name: str = "") -> Iterator[int]:
    """How many Secrets each field can name."""
    if name.lower().endswith("secretref"):
        yield 1
    elif name.lower().endswith("secrets"):
        yield schema["maxItems"]
    elif "Secret" in schema.get("properties", {}).get("kind", {}).get("enum", []):
        yield 1
    for inner, part in schema.get("properties", {}).items():
        yield from secrets(part, inner)


def test_an_update_of_any_section_but_the_harmless_ones_asks_about_secrets() -> None:
    compared = set(re.findall(r"\w+", found(r'range list ((?:"\w+" ?)+)')))
    assert compared == SPEC["properties"].keys() - HARMLESS


def test_there_are_questions_for_as_many_secrets_as_a_resource_can_name() -> None:
    named = sum(secrets(SPEC))
    assert int(found(r"\$index := until (\d+)")) == named
    children = len(found(r'\$kind := list ((?:"\S+" ?)+)').split())
    assert children + 2 * named + 1 <= QUESTIONS
