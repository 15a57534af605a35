"""JSON of the API server, however deep it is nested.

The API server takes objects that are nested thousands of levels deep, wherever a schema has a free
part; Python's parser gives up at about a thousand. One such object must not keep the operator from
reading all others, so what lies deeper than anything that is read here is cut off.
"""

from __future__ import annotations

import json
import re
from typing import Any

MAX_DEPTH = 100
"""Levels that are kept of a text that is too deep: the free part of a spec has at most 8."""
CUT_OFF = '"(nested too deep)"'

_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{\]}]', re.DOTALL)
"""Strings, which may hold brackets, and the brackets that count."""


def decoded(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        json.JSONDecodeError: It is none.
    """
    try:
        return json.loads(text)
    except RecursionError:
        return json.loads(shallow(text if isinstance(text, str) else text.decode()))


def shallow(text: str) -> str:
    """The JSON text with every value that lies below :data:`MAX_DEPTH` levels cut off."""
    kept, since, depth = [], 0, 0
    for token in _TOKENS.finditer(text):
        if token[0] in "[{":
            depth += 1
            if depth == MAX_DEPTH + 1:
                kept += [text[since : token.start()], CUT_OFF]
        elif token[0] in "]}":
            if depth == MAX_DEPTH + 1:
                since = token.end()
            depth -= 1
    return "".join([*kept, text[since:]])
