"""Asking components whether they work."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from pathlib import Path

_TIMEOUT_SECONDS = 3.0


def is_healthy(url: str, authority: Path) -> bool:
    """Whether a health URL answers 200.

    The machine's proxy settings are not for the cluster's own addresses and are not looked at.
    """
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if url.startswith("https:"):
        trust = ssl.create_default_context(cafile=str(authority))
        handlers.append(urllib.request.HTTPSHandler(context=trust))
    try:
        with urllib.request.build_opener(*handlers).open(url, timeout=_TIMEOUT_SECONDS) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
