"""The path that a ``file://`` URI names, of a run's folder or of what it reads.

Rules this module keeps:

* A URI is never read as another folder than its user sees in it: what stands between the second
  and the third slash is a host's name, and a first folder written there would be dropped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import unquote

from pydantic import AfterValidator, Field

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
            f"{uri} names no place on this machine: file:// takes three slashes and an absolute "
            f"path, such as {SCHEME}//{meant}"
        )
    return Path(unquote(path))


def path_of(place: str) -> Path:
    """The path of what is on this machine: named by ``file:///path``, or as it is written.

    Raises:
        ValueError: as :func:`folder_of`; a value of the configuration was asked before.
    """
    return folder_of(place) if place.startswith(SCHEME) else Path(place)


def _known(place: str) -> str:
    if place.startswith(SCHEME):
        folder_of(place)
    return place


Place = Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(_known)]
"""Where files are: ``s3://``, a path, ``file://``, or another scheme where there is one."""
ModelPlace = Annotated[str, Field(min_length=1, max_length=512), AfterValidator(_known)]
"""The same of a model, which the Hub may have."""
