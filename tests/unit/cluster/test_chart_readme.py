"""The chart's README describes every value."""

from __future__ import annotations

import json

import pytest

from tests.cluster import chart_readme

CONTENT = (chart_readme.CHART / "values.yaml").read_text()
SCHEMA = json.loads((chart_readme.CHART / "values.schema.json").read_text())


def test_the_readme_is_up_to_date() -> None:
    readme = chart_readme.README.read_text()
    assert readme == chart_readme.updated(readme, CONTENT), "run `make docs`"


def test_the_schema_knows_every_value() -> None:
    for value in chart_readme.values(CONTENT):
        node = SCHEMA
        for part in value.name.split("."):
            node = node["properties"][part]


def test_a_value_that_nobody_described_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"a\.c has no comment"):
        chart_readme.values("a:\n  # -- One.\n  b: 1\n  c: 2\n")


def test_a_comment_may_have_several_lines() -> None:
    (value,) = chart_readme.values("a:\n  # -- One,\n  # and | more.\n  b: [1]\n")
    assert value.row() == r"| `a.b` | `[1]` | One, and \| more. |"
