"""Pointers: what a git checkout has in place of large files that git-LFS did not fetch."""

from __future__ import annotations

from pathlib import Path

HEADER = b"version https://git-lfs.github.com/spec/"
"""What a pointer begins with."""


def is_pointer(path: Path) -> bool:
    """Whether a file is a pointer to the content that it should have."""
    with path.open("rb") as file:
        return file.read(len(HEADER)) == HEADER
