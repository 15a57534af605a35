"""Which checkpoints are in a run's folder, as far as listing and manifests tell.

Rules this module keeps:

* A manifest that cannot be used is found as well, with what is wrong: nobody passes it over in
  silence.
* It is read once more before: bytes are damaged on their way, too.
* One that another start of the run removes meanwhile is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sid_trainer.checkpoint import manifest as layout
from sid_trainer.checkpoint.manifest import DamagedError, Manifest, read_manifest, read_twice
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.storage import Storage


@dataclass(frozen=True)
class Found:
    """A checkpoint in the store: its manifest, and what is wrong as far as a listing tells."""

    iteration: int
    manifest: Manifest | None = None
    damage: str = ""

    @property
    def told(self) -> str:
        """The damage, as people are told it."""
        return f"The checkpoint of iteration {self.iteration} is damaged: {self.damage}"


def find(storage: Storage) -> list[Found]:
    """All committed checkpoints, the newest first."""
    sizes = _sizes(storage)
    iterations = {
        iteration
        for key in sizes
        if (iteration := layout.iteration_of(key)) is not None
        and key == layout.manifest_key(iteration)
    }
    found = (_found(storage, iteration, sizes) for iteration in sorted(iterations, reverse=True))
    return [one for one in found if one is not None]


def manifests(storage: Storage) -> list[Manifest]:
    """Those that can be read, the newest first."""
    return [found.manifest for found in find(storage) if found.manifest is not None]


def retire(storage: Storage, damaged: list[Found]) -> None:
    """Take damaged checkpoints out of the count; what there is of them stays for a look at it.

    How long it does, :mod:`.retention` decides.
    """
    for found in damaged:
        key = layout.manifest_key(found.iteration)
        data = storage.get_bytes(key, layout.MAX_MANIFEST_BYTES)
        storage.put_bytes(f"{layout.folder(found.iteration)}/{layout.RETIRED_NAME}", data)
        storage.delete([key])


def _sizes(storage: Storage) -> dict[str, int]:
    return {found.key: found.size for found in storage.list(layout.FOLDER + "/")}


def _found(storage: Storage, iteration: int, sizes: Mapping[str, int]) -> Found | None:
    """None where it was removed since it was listed."""
    key = layout.manifest_key(iteration)
    try:
        manifest = read_twice(lambda: _read(storage, key))
        damage = manifest.unlisted(sizes, storage.uri)
        if damage:  # it may be newer than the listing
            damage = manifest.unlisted(_sizes(storage), storage.uri)
        return Found(iteration, manifest, damage)
    except DamagedError as error:
        return Found(iteration, damage=str(error))
    except TrainerError as error:
        if error.reason is FailureReason.NOT_FOUND:
            return None
        raise


def _read(storage: Storage, key: str) -> Manifest:
    data = storage.get_bytes(key, layout.MAX_MANIFEST_BYTES)
    return read_manifest(data, storage.uri(key))
