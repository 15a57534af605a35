"""The folder that a ``file://`` URI names.

Rules this module keeps:

* A URI is never read as another folder than its user sees in it: what stands between the second
  and the third slash is a host's name, and a first folder written there would be dropped.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

SCHEME = "file:"


def folder_of(uri: str) -> Path:
    """The absolute path of ``file:///path``; ``%xx`` is decoded, ``?`` and ``#`` belong to names.

    Raises:
        ValueError: a host is named, or the path is not absolute.
    """
    rest = uri.removeprefix(SCHEME)
    host, path = "", rest
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        path = slash + path
    if host not in ("", "localhost") or not path.startswith("/"):
        meant = Path(unquote(f"{host}{path}")).absolute()
        raise ValueError(
            f"{uri} names no folder of this machine: file:// takes three slashes and an absolute "
            f"path, such as {SCHEME}//{meant}"
        )
    return Path(unquote(path))
