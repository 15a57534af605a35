"""Looking at a run's checkpoints from outside: what there is, whether it is whole, what to drop.

Rules this module keeps:

* One part of one rank is in memory at a time.
* It judges by the manifests alone; what no manifest names is told as left over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from sid_trainer.checkpoint import manifest as layout
from sid_trainer.checkpoint.manifest import DamagedError, Manifest, read_manifest
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.storage import ObjectInfo, Storage

Progress = Callable[[int], object]
"""Told the bytes that were read since the last call."""


@dataclass(frozen=True)
class Entry:
    """A checkpoint as its manifest tells of it.

    Attributes:
        problem: why it cannot be used, as far as listing tells; "" where it can.
    """

    iteration: int
    manifest: Manifest | None
    problem: str = ""

    @property
    def size(self) -> int:
        """Bytes of all parts."""
        return sum(part.size for part in self.manifest.parts) if self.manifest else 0


@dataclass(frozen=True)
class Inventory:
    """Everything below ``checkpoints/``.

    Attributes:
        entries: checkpoints, the newest first.
        leftovers: objects that no manifest names: of attempts that died, or on their way.
    """

    entries: list[Entry]
    leftovers: list[ObjectInfo]


def inventory(storage: Storage) -> Inventory:
    """List a run's checkpoints; sizes are compared, contents are not read."""
    objects = {found.key: found for found in storage.list(f"{layout.FOLDER}/")}
    iterations = {layout.iteration_of(key) for key in objects}
    committed = sorted(
        (at for at in iterations if at is not None and layout.manifest_key(at) in objects),
        reverse=True,
    )
    entries = [_entry(storage, objects, at) for at in committed]
    named = {layout.manifest_key(entry.iteration) for entry in entries}
    named |= {
        entry.manifest.part_key(rank)
        for entry in entries
        if entry.manifest is not None
        for rank in range(entry.manifest.world_size)
    }
    return Inventory(entries, [found for key, found in objects.items() if key not in named])


def verify(storage: Storage, entry: Entry, progress: Progress = lambda _: None) -> list[str]:
    """Read every part of a checkpoint; return what is wrong, nothing when it is whole."""
    if entry.manifest is None or entry.problem:
        return [entry.problem]
    manifest, problems = entry.manifest, []
    for rank, part in enumerate(manifest.parts):
        key = manifest.part_key(rank)
        try:
            found = _checksum(storage, key, part.size, progress)
        except TrainerError as error:
            if error.reason not in (FailureReason.NOT_FOUND, FailureReason.INVALID_DATA):
                raise
            problems.append(str(error))
            continue
        if found != part.sha256:
            problems.append(f"{storage.uri(key)} does not have the checksum of its manifest")
    return problems


def surplus(found: Inventory, keep: int) -> list[Entry]:
    """Checkpoints that may go so that ``keep`` are left; damaged ones are not counted as kept.

    Raises:
        ValueError: ``keep`` is below 1.
    """
    if keep < 1:
        raise ValueError(f"keep {keep} checkpoints: at least 1 must stay for the run to go on")
    return [entry for entry in found.entries if not entry.problem][keep:]


def drop(storage: Storage, entry: Entry) -> None:
    """Remove a checkpoint: the manifest first, so that one half removed is none."""
    storage.delete([layout.manifest_key(entry.iteration)])
    if entry.manifest is not None:
        ranks = range(entry.manifest.world_size)
        storage.delete([entry.manifest.part_key(rank) for rank in ranks])


def _entry(storage: Storage, objects: dict[str, ObjectInfo], iteration: int) -> Entry:
    key = layout.manifest_key(iteration)
    try:
        data = storage.get_bytes(key, layout.MAX_MANIFEST_BYTES)
        manifest = read_manifest(data, storage.uri(key))
    except (DamagedError, TrainerError) as error:
        return Entry(iteration, None, str(error))
    for rank, part in enumerate(manifest.parts):
        found = objects.get(manifest.part_key(rank))
        uri = storage.uri(manifest.part_key(rank))
        if found is None:
            return Entry(iteration, manifest, f"{uri} is missing")
        if found.size != part.size:
            told = f"{uri} has {found.size} bytes, and its manifest says {part.size}"
            return Entry(iteration, manifest, told)
    return Entry(iteration, manifest)


def _checksum(storage: Storage, key: str, size: int, progress: Progress) -> str:
    buffer = bytearray(size)
    storage.get_into(key, memoryview(buffer))
    progress(size)
    return hashlib.sha256(buffer).hexdigest()
