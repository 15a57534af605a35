"""JSON that the API server can read as YAML, too, as it does with what is applied.

YAML knows no escapes of halves of a character beyond the 16-bit plane, as JSON has them (an emoji
would be refused): such characters are sent as they are. All others are escaped but for ASCII's,
because YAML takes some of them for line breaks and refuses others.
"""

from __future__ import annotations

import json
import re
from typing import Any

_ESCAPED = re.compile("[\x7f-\uffff]")


def encoded(body: Any) -> bytes:
    """The JSON text of a value, in UTF-8."""
    text = json.dumps(body, ensure_ascii=False)
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode()
