"""``python -m sid_trainer.estimate FILE``: write the tables of docs/memory.md anew."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from sid_trainer.estimate.settings import LEVERS, PAPER, Setting, table

TABLES = {"paper": PAPER, "flux": LEVERS}


def with_tables(text: str) -> str:
    """The page with every table between its two marks written anew."""
    for name, settings in TABLES.items():
        text = _replaced(text, name, settings)
    return text


def _replaced(text: str, name: str, settings: Sequence[Setting]) -> str:
    begin, end = f"<!-- table {name} -->", f"<!-- end of {name} -->"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    found, count = pattern.subn(lambda _: f"{begin}\n{table(settings)}\n{end}", text)
    if count != 1:
        raise ValueError(f"the page has {count} places for the table {name!r}, not one")
    return found


def main() -> None:
    """Write the page given as the argument."""
    page = Path(sys.argv[1])
    page.write_text(with_tables(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
