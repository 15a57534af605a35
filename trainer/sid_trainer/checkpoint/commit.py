"""Committing a checkpoint while another start of the run may be alive.

A process can be stopped for any time between two of its steps, and go on when a newer attempt of
the run has long taken its place. Rules this module keeps:

* An attempt that has been replaced commits nothing.
* A manifest is written where there is none, or in place of an older attempt's: never over a newer
  one's.
* A committed checkpoint has all its parts. A newer attempt may have removed those of an older one
  as leftovers while that one was about to commit. So each looks once more when it is done: the one
  that commits for its parts, the one that removes for a manifest that names what it has removed.
  Whichever comes last sees it and takes the manifest back.
* What is about to be uploaded is announced first: some stores tell of unfinished uploads only to
  those who know the object's whole name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable

from sid_trainer.checkpoint import layout
from sid_trainer.checkpoint.manifest import DamagedError, Manifest, read_manifest
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.storage import Storage

Fence = Callable[[], None]
"""Raises TrainerError where another start of the run has taken over."""


def unfenced() -> None:
    """There is no other start of the run."""


ANNOUNCEMENT_NAME = "begun.json"
MAX_ANNOUNCEMENT_BYTES = 4096
_TRIES = 8


def announce(storage: Storage, iteration: int, attempt: int, world: int) -> None:
    """Write down that the ranks are about to upload their parts."""
    key = f"{layout.folder(iteration)}/{layout.attempt_folder(attempt)}/{ANNOUNCEMENT_NAME}"
    storage.put_bytes(key, json.dumps({"worldSize": world}).encode(), "application/json")


def announced_parts(storage: Storage, keys: Iterable[str]) -> list[str]:
    """Keys of the parts that announcements among these keys tell of."""
    return [
        f"{key.removesuffix(ANNOUNCEMENT_NAME)}{layout.part_name(rank)}"
        for key in keys
        if key.endswith(f"/{ANNOUNCEMENT_NAME}")
        for rank in range(_world_size(storage, key))
    ]


def give_up_uploads(storage: Storage, parts: Collection[str]) -> None:
    """Remove unfinished uploads of these parts."""
    if parts:
        storage.give_up([begun for begun in storage.begun_uploads(parts) if begun.key in parts])


def commit_manifest(storage: Storage, manifest: Manifest, fence: Fence) -> None:
    """Make a checkpoint of parts that are stored.

    Raises:
        TrainerError: ``PeerLost`` when a newer attempt is there; else the storage's.
    """
    fence()
    key = layout.manifest_key(manifest.iteration)
    data = manifest.model_dump_json(by_alias=True, indent=1).encode()
    for _ in range(_TRIES):
        etag = next((found.etag for found in storage.list(key) if found.key == key), None)
        if etag is not None and _attempt_at(storage, key) > manifest.attempt:
            raise _replaced(storage.uri(key), "is of a newer attempt of the run")
        if storage.put_if(key, data, etag, "application/json"):
            break
    else:
        raise _replaced(storage.uri(key), "is written by others all the time")
    if withdraw_torn(storage, [manifest]):
        raise _replaced(storage.uri(key), "has lost parts to a newer attempt of the run")


def withdraw_torn(storage: Storage, manifests: Iterable[Manifest]) -> list[Manifest]:
    """Take back manifests that name parts which are not there; return these."""
    torn = [one for one in manifests if not _has_all_parts(storage, one)]
    for manifest in torn:
        key = layout.manifest_key(manifest.iteration)
        if _attempt_at(storage, key) == manifest.attempt:
            storage.delete([key])
    return torn


def _has_all_parts(storage: Storage, manifest: Manifest) -> bool:
    prefix = f"{layout.folder(manifest.iteration)}/"
    there = {found.key for found in storage.list(prefix)}
    return all(manifest.part_key(rank) in there for rank in range(manifest.world_size))


def _attempt_at(storage: Storage, key: str) -> int:
    """Attempt whose manifest is there; 0 where there is none, or none that can be read."""
    try:
        data = storage.get_bytes(key, layout.MAX_MANIFEST_BYTES)
        return read_manifest(data, storage.uri(key)).attempt
    except DamagedError:
        return 0
    except TrainerError as error:
        if error.reason is FailureReason.NOT_FOUND:
            return 0
        raise


def _world_size(storage: Storage, key: str) -> int:
    try:
        told = json.loads(storage.get_bytes(key, MAX_ANNOUNCEMENT_BYTES))
        return min(int(told["worldSize"]), layout.MAX_WORLD_SIZE)
    except (ValueError, KeyError, TypeError):
        return 0


def _replaced(what: str, why: str) -> TrainerError:
    return TrainerError(FailureReason.PEER_LOST, f"{what} {why}, and this attempt gives way")
