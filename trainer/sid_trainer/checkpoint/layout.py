"""Where things stand in a run's folder: the keys of checkpoints, their parts and their manifests.

Rules this module keeps:

* A key says which checkpoint it belongs to, and a part's who wrote it: nothing is read for that.
"""

from __future__ import annotations

import re

FOLDER = "checkpoints"
MANIFEST_NAME = "manifest.json"
RETIRED_NAME = "manifest.damaged.json"
"""Of a checkpoint that was found damaged, and passed over."""
MAX_MANIFEST_BYTES = 16 * 2**20
"""Room for the parts of :data:`MAX_WORLD_SIZE` ranks."""
MAX_WORLD_SIZE = 65_536

_FOLDER_PATTERN = re.compile(rf"{FOLDER}/iter-(\d{{8,}})/")
_ATTEMPT_PATTERN = re.compile(rf"{FOLDER}/iter-\d{{8,}}/attempt-(\d{{4,}})/")


def folder(iteration: int) -> str:
    """Folder of a checkpoint."""
    return f"{FOLDER}/iter-{iteration:08d}"


def attempt_folder(attempt: int) -> str:
    """Folder of an attempt's objects, relative to the checkpoint's folder."""
    return f"attempt-{attempt:04d}"


def part_name(rank: int) -> str:
    """Name of a rank's object in its attempt's folder."""
    return f"rank-{rank:05d}.safetensors"


def part_key(attempt: int, rank: int) -> str:
    """Key of a rank's object, relative to the checkpoint's folder."""
    return f"{attempt_folder(attempt)}/{part_name(rank)}"


def manifest_key(iteration: int) -> str:
    """Key of a checkpoint's manifest."""
    return f"{folder(iteration)}/{MANIFEST_NAME}"


def iteration_of(key: str) -> int | None:
    """Iteration of the checkpoint that a key belongs to."""
    match = _FOLDER_PATTERN.match(key)
    return int(match[1]) if match else None


def attempt_of(key: str) -> int | None:
    """Attempt that wrote the part with this key."""
    match = _ATTEMPT_PATTERN.match(key)
    return int(match[1]) if match else None
