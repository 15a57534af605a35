"""The table of values in the chart's README: ``python -m tests.cluster.chart_readme`` writes it.

It is made from the comments of values.yaml that begin with ``# --``, so that a value is described
once. A value without such a comment is an error.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from typing import NamedTuple

import yaml

from tests.cluster.kubectl import REPOSITORY

CHART = REPOSITORY / "charts" / "sid-operator"
README = CHART / "README.md"
BEGIN, END = "<!-- values -->", "<!-- end of values -->"
_KEY = re.compile(r"^( *)([A-Za-z_]+):")


class Value(NamedTuple):
    """A value that can be set."""

    name: str
    default: object
    text: str

    def row(self) -> str:
        """Its row in the table."""
        text = self.text.replace("|", r"\|")
        return f"| `{self.name}` | `{json.dumps(self.default)}` | {text} |"


def values(content: str) -> list[Value]:
    """All values of a values.yaml, in its order."""
    described = dict(_comments(content))
    found = list(_leaves(yaml.safe_load(content), "", described))
    return [Value(name, default, described[name]) for name, default in found]


def table(content: str) -> str:
    """The values as a Markdown table."""
    head = ["| value | default | what it does |", "| --- | --- | --- |"]
    return "\n".join([*head, *(value.row() for value in values(content))])


def updated(readme: str, content: str) -> str:
    """The README with the table of today in it."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table(content)}\n{END}{after}"


def _comments(content: str) -> Iterator[tuple[str, str]]:
    """The path of each described key with its description."""
    path: list[str] = []
    comment: list[str] = []
    for line in content.splitlines():
        words = line.strip()
        if words.startswith("# -- "):
            comment = [words.removeprefix("# -- ")]
        elif words.startswith("# ") and comment:
            comment.append(words.removeprefix("# "))
        elif key := _KEY.match(line):
            path = [*path[: len(key[1]) // 2], key[2]]
            if comment:
                yield ".".join(path), " ".join(comment)
            comment = []


def _leaves(
    node: dict[str, object], prefix: str, described: dict[str, str]
) -> Iterator[tuple[str, object]]:
    """Described values whole, others by their parts."""
    for key, value in node.items():
        name = f"{prefix}{key}"
        if name in described:
            yield name, value
        elif isinstance(value, dict) and value:
            yield from _leaves(value, f"{name}.", described)
        else:
            raise ValueError(f"values.yaml: {name} has no comment that begins with '# --'")


def main() -> None:
    """Write the README's table."""
    content = (CHART / "values.yaml").read_text()
    README.write_text(updated(README.read_text(), content))
    sys.stdout.write(f"{README.relative_to(REPOSITORY)}\n")


if __name__ == "__main__":
    main()
