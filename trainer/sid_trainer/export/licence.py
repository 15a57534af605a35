"""The teacher's licence, which binds its students: carried along, and told in the model card.

Rules this module keeps:

* Nothing is guessed: the card says what the teacher's own README.md says in its front matter, and
  the licence files are copied as they are.
* A licence whose name or title forbids commercial use is told in words, besides. Its text is not
  searched: those that allow some commercial use name the other kind, too.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

_FIELDS = ("license", "license_name", "license_link")
_FILES = "LICENSE*"
_NON_COMMERCIAL = re.compile(r"non[-_ ]?commercial|(^|-)nc(-|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Licence:
    """What is known of a teacher's licence.

    Attributes:
        front_matter: fields of a model card that tell the licence.
        files: texts of the licence.
        non_commercial: whether its name or its text's title forbids commercial use.
    """

    front_matter: dict[str, str] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    non_commercial: bool = False

    def copy_to(self, folder: Path) -> None:
        """Carry the texts along."""
        for file in self.files:
            shutil.copyfile(file, folder / file.name)


def licence_of(teacher: Path) -> Licence:
    """The licence of a pipeline directory.

    Args:
        teacher: the directory, with README.md and LICENSE files where there are any.
    """
    front_matter = _front_matter(teacher / "README.md")
    told = {name: str(front_matter[name]) for name in _FIELDS if front_matter.get(name)}
    files = tuple(sorted(path for path in teacher.glob(_FILES) if path.is_file()))
    titles = [_title(file) for file in files]
    forbids = any(_NON_COMMERCIAL.search(text) for text in [*told.values(), *titles])
    return Licence(told, files, forbids)


def _front_matter(readme: Path) -> dict[str, Any]:
    """The YAML between the first two lines of dashes, if it is a mapping."""
    if not readme.is_file():
        return {}
    text = readme.read_text(encoding="utf-8", errors="replace")
    match = re.match(r"---\s*\n(.*?)\n---\s*(\n|$)", text, re.DOTALL)
    if match is None:
        return {}
    try:
        data = yaml.safe_load(match[1])
    except yaml.YAMLError:
        return {}  # somebody else's file: what it says of a licence cannot be told
    return data if isinstance(data, dict) else {}


def _title(file: Path) -> str:
    """The first line that is not empty."""
    with file.open(encoding="utf-8", errors="replace") as lines:
        return next((line.strip() for line in lines if line.strip()), "")
