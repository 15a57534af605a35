"""Texts out of JSON, which can say what no tokenizer and no UTF-8 file can."""

from __future__ import annotations

import json
from typing import Any

UNENCODABLE_REMEDY = "write the character whole, or remove it"


def parsed_json(text: str | bytes) -> Any:
    """The value that a JSON text stands for.

    Raises:
        ValueError: when it is no JSON, or its values lie in one another too deep to be read.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def unencodable(text: str) -> str | None:
    r"""What of a text cannot be encoded as UTF-8, if anything.

    JSON writes a character beyond U+FFFF as two halves (``\ud83d\ude00``); one alone is none.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        half = ascii(text[error.start])[1:-1]
        return f"has half a character ({half}, a surrogate alone)"
    return None
