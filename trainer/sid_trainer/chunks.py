"""How much is done at a time: what a rank encodes and then holds in host memory, and cuts of it.

Here because both those who encode and those who compute the need of memory, without torch, know it.
"""

from __future__ import annotations

PROMPTS_HELD = 512
"""Prompts held by a rank. SD3's take 2.7 MB each in bf16: 1.4 GB of host memory."""
IMAGES_HELD = 256
"""Images held by a rank: their captions take 0.7 GB (SD3), their latents 0.3 GB at 1024²."""


def cuts(length: int, size: int) -> list[slice]:
    """Slices of ``size`` that cover ``length`` items."""
    return [slice(start, start + size) for start in range(0, length, size)]
