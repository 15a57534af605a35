"""Looking at a run's checkpoints from outside: what there is, whether it is whole, what to drop.

Rules this module keeps:

* One block of one object is in memory at a time.
* It judges by the manifests alone; what no manifest names is told as left over.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from sid_trainer.checkpoint import layout
from sid_trainer.checkpoint.finding import Found, committed, manifest_of
from sid_trainer.checkpoint.manifest import DamagedError
from sid_trainer.checkpoint.reading import Progress, Reader, read_header
from sid_trainer.contract import TrainerError
from sid_trainer.storage import ObjectInfo, Storage


@dataclass(frozen=True)
class Inventory:
    """Everything below ``checkpoints/``.

    Attributes:
        entries: checkpoints, the newest first.
        leftovers: objects that no manifest names: of attempts that died, or on their way.
    """

    entries: list[Found]
    leftovers: list[ObjectInfo]


def inventory(
    storage: Storage, looked_at: Callable[[int, int], object] = lambda _one, _all: None
) -> Inventory:
    """List a run's checkpoints; sizes are compared, contents are not read.

    Args:
        storage: the run's folder.
        looked_at: is told of each manifest that was read: 1, and how many there are.
    """
    objects = {found.key: found for found in storage.list(f"{layout.FOLDER}/")}
    sizes = {key: found.size for key, found in objects.items()}
    iterations, entries = committed(sizes), []
    for iteration in iterations:
        entries.append(_entry(storage, sizes, iteration))
        looked_at(1, len(iterations))
    named = {layout.manifest_key(entry.iteration) for entry in entries}
    named |= {
        entry.manifest.part_key(rank)
        for entry in entries
        if entry.manifest is not None
        for rank in range(entry.manifest.world_size)
    }
    return Inventory(entries, [found for key, found in objects.items() if key not in named])


def verify(storage: Storage, entry: Found, progress: Progress = lambda _: None) -> list[str]:
    """Read every part of a checkpoint; return what is wrong, nothing when it is whole."""
    if entry.manifest is None or entry.damage:
        return [entry.damage]
    manifest, problems = entry.manifest, []
    for rank, part in enumerate(manifest.parts):
        reader = Reader(storage, manifest, rank, progress)
        try:
            header = read_header(reader)
            for _ in reader.blocks(part.size):
                pass  # read for its checksum alone
            reader.require(part)
            header.require(manifest, rank, reader.uri)
        except DamagedError as error:
            problems.append(str(error))
    return problems


def newest_whole(found: Inventory) -> Found | None:
    """The newest checkpoint that listing finds nothing wrong with."""
    return next((entry for entry in found.entries if not entry.damage), None)


def surplus(found: Inventory, keep: int, best: Collection[int] = ()) -> list[Found]:
    """Checkpoints that may go so that ``keep`` are left; damaged ones are not counted as kept.

    Args:
        found: what there is.
        keep: how many of the newest stay.
        best: iterations of those that stay besides.

    Raises:
        ValueError: ``keep`` is below 1.
    """
    if keep < 1:
        raise ValueError(f"keep {keep} checkpoints: at least 1 must stay for the run to go on")
    older = [entry for entry in found.entries if not entry.damage][keep:]
    return [entry for entry in older if entry.iteration not in best]


def drop(storage: Storage, entry: Found) -> None:
    """Remove a checkpoint: the manifest first, so that one half removed is none."""
    storage.delete([layout.manifest_key(entry.iteration)])
    if entry.manifest is not None:
        ranks = range(entry.manifest.world_size)
        storage.delete([entry.manifest.part_key(rank) for rank in ranks])


def _entry(storage: Storage, sizes: Mapping[str, int], iteration: int) -> Found:
    """Whatever is wrong with it, a later format included, is told of it: a person looks."""
    try:
        manifest = manifest_of(storage, iteration)
    except (DamagedError, TrainerError) as error:
        return Found(iteration, damage=str(error))
    return Found(iteration, manifest, manifest.unlisted(sizes, storage.uri))
