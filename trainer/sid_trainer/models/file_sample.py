"""A sample of a file's content, which tells files of one size apart without reading gigabytes.

Weights that were trained on differ everywhere. The ends are always looked at.
"""

from __future__ import annotations

BLOCK = 4096
"""Bytes that are read at each place."""
_BLOCKS = 16


def places(size: int) -> list[int]:
    """Where blocks of a file of ``size`` bytes begin: at its ends, and evenly between."""
    spread = {(size - BLOCK) * number // (_BLOCKS - 1) for number in range(_BLOCKS)}
    return [max(0, place) for place in sorted(spread)]
