"""Which checkpoints are in a run's folder, as far as listing and manifests tell.

Rules this module keeps:

* A manifest that cannot be used is found as well, with what is wrong: nobody passes it over in
  silence.
* It is read once more before: bytes are damaged on their way, too.
* One that another start of the run removes meanwhile is none.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sid_trainer.checkpoint import layout
from sid_trainer.checkpoint.manifest import DamagedError, Manifest, read_manifest, read_twice
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.storage import Storage


@dataclass(frozen=True)
class Found:
    """A checkpoint in the store.

    Attributes:
        iteration: after which it was taken.
        manifest: None where it cannot be read.
        damage: why it cannot be used, as far as a listing tells; "" where it can.
    """

    iteration: int
    manifest: Manifest | None = None
    damage: str = ""

    @property
    def size(self) -> int:
        """Bytes of all parts."""
        return sum(part.size for part in self.manifest.parts) if self.manifest else 0

    @property
    def told(self) -> str:
        """The damage, as people are told it."""
        return f"The checkpoint of iteration {self.iteration} is damaged: {self.damage}"


def find(storage: Storage) -> list[Found]:
    """All committed checkpoints, the newest first."""
    sizes = _sizes(storage)
    found = (_found(storage, iteration, sizes) for iteration in committed(sizes))
    return [one for one in found if one is not None]


def committed(keys: Collection[str]) -> list[int]:
    """Iterations of the checkpoints that have a manifest, the newest first.

    Args:
        keys: of all objects in the folder of checkpoints.
    """
    iterations = {layout.iteration_of(key) for key in keys}
    there = (at for at in iterations if at is not None and layout.manifest_key(at) in keys)
    return sorted(there, reverse=True)


def manifest_of(storage: Storage, iteration: int) -> Manifest:
    """The manifest of a checkpoint.

    Raises:
        DamagedError: when it is none.
        TrainerError: ``NotFound`` when it is not there, ``InvalidConfiguration`` when a later
            version of the program wrote it.
    """
    key = layout.manifest_key(iteration)
    data = storage.get_bytes(key, layout.MAX_MANIFEST_BYTES)
    return read_manifest(data, storage.uri(key))


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
    try:
        manifest = read_twice(lambda: manifest_of(storage, iteration))
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
