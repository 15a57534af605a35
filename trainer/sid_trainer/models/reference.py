"""Where a model is that a user names: in a bucket, at a path, or on the Hugging Face Hub."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, TypeAlias

Location: TypeAlias = Literal["s3", "path", "hub"]
_HUB_ID = re.compile(r"^[\w][\w.-]*/[\w][\w.-]*$")


def place_of(reference: str) -> Location:
    """The kind of place; what could be an id of the Hub is a path where there is such a path."""
    if reference.startswith("s3://"):
        return "s3"
    if Path(reference).exists() or not _HUB_ID.match(reference):
        return "path"
    return "hub"
