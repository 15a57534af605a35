"""Saving and resuming: every rank its own part, the manifest last, nothing used unverified.

Rules this module keeps:

* A checkpoint is committed by its manifest, which rank 0 writes after every rank's part is stored.
* On resume each part's size and checksum are verified before a tensor of any rank is used. A
  damaged checkpoint is named loudly and the one before it is used, on all ranks alike.
* Where checkpoints exist and none is whole, the run ends: it never starts anew in silence.
* A failure of one rank is everybody's: no rank waits for one that has given up.
* Of two attempts at once, the older neither commits over the newer nor removes what is the newer's
  (:mod:`.commit`).

Every public method but :meth:`CheckpointStore.upload`, :meth:`~CheckpointStore.commit` and
:meth:`~CheckpointStore.load` is a collective: all ranks call it in the same order.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sid_trainer.checkpoint import manifest as layout
from sid_trainer.checkpoint.commit import Fence, announce, commit_manifest, withdraw_torn
from sid_trainer.checkpoint.fetching import fetch
from sid_trainer.checkpoint.group import ProcessGroup, from_first, together
from sid_trainer.checkpoint.manifest import (
    Beginning,
    DamagedError,
    Manifest,
    Part,
    read_manifest,
)
from sid_trainer.checkpoint.reshard import Place, laid_out_anew
from sid_trainer.checkpoint.retention import obsolete
from sid_trainer.checkpoint.settings import completed, differences, digest
from sid_trainer.checkpoint.shard import Shard, read_shard
from sid_trainer.contract import CheckpointRef, FailureReason, TrainerError
from sid_trainer.state import RankState
from sid_trainer.storage import Storage

RETIRED_NAME = "manifest.damaged.json"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Resumed:
    """Where a run goes on: the state of this rank after ``iteration`` finished iterations."""

    iteration: int
    state: RankState
    ref: CheckpointRef


@dataclass(frozen=True)
class Found:
    """A checkpoint in the store: its manifest, or why that cannot be read."""

    iteration: int
    manifest: Manifest | None = None
    damage: str = ""


class CheckpointStore:
    """The checkpoints of a run.

    Args:
        storage: the run's folder.
        group: the ranks.
        settings: settings that bind the state (:func:`~.settings.resume_settings`).
        attempt: number of this start of the run; parts of two attempts never share a key.
        keep_last: checkpoints to keep.
        uploads: the same folder for parts that are uploaded, where it has a patience of its own.
        fence: raises where another start of the run has taken over.
    """

    def __init__(
        self,
        storage: Storage,
        group: ProcessGroup,
        settings: dict[str, Any],
        attempt: int,
        keep_last: int,
        uploads: Storage | None = None,
        fence: Fence = lambda: None,
    ) -> None:
        self._storage, self._group, self._fence = storage, group, fence
        self._uploads = uploads or storage
        self._settings, self._attempt, self._keep_last = settings, attempt, keep_last

    def save(self, state: RankState, iteration: int) -> CheckpointRef:
        """Store every rank's state and commit; a collective.

        Raises:
            TrainerError: on every rank, when one could not store its part; nothing is committed.
        """
        parts = together(self._group, lambda: self.upload(state, iteration))
        return from_first(self._group, lambda: self.commit(parts, iteration))

    def commit(self, parts: list[Part], iteration: int) -> CheckpointRef:
        """Commit the parts of all ranks, which are stored; on rank 0 alone, in any thread.

        Args:
            parts: by rank.
            iteration: after which they were taken.

        Raises:
            TrainerError: when the manifest could not be written, or another attempt has taken
                over.
        """
        manifest = Manifest(
            iteration=iteration,
            world_size=self._group.world,
            attempt=self._attempt,
            time=datetime.now(UTC),
            settings_digest=digest(self._settings),
            settings=self._settings,
            parts=tuple(parts),
        )
        commit_manifest(self._storage, manifest, self._fence)
        self._prune(manifest)
        return self._ref(manifest)

    def latest(self) -> list[Found]:
        """All committed checkpoints, the newest first; a collective."""
        return from_first(self._group, self._find)

    def resume(self) -> Resumed | None:
        """Load the newest whole checkpoint; None when there is none at all; a collective.

        Raises:
            TrainerError: ``InvalidConfiguration`` when it is of other settings, ``InvalidData``
                when there are checkpoints and none is whole.
        """
        damaged: list[Found] = []
        for found in self.latest():
            state = self._load_whole(found)
            if state is not None and found.manifest is not None:
                from_first(self._group, lambda: self._retire(damaged))
                return Resumed(found.iteration, state, self._ref(found.manifest))
            damaged.append(found)
        if damaged:
            raise TrainerError(
                FailureReason.INVALID_DATA,
                f"none of the {len(damaged)} checkpoints under "
                f"{self._storage.uri(layout.FOLDER)} is whole (the log names the objects): restore "
                "them, or delete that folder to train anew",
            )
        return None

    def load(self, manifest: Manifest) -> RankState:
        """This rank's verified state, laid out anew where the number of ranks has changed.

        Raises:
            DamagedError: naming the object, when it is not what the manifest says.
        """
        group = self._group
        if manifest.world_size == group.world:
            return self._part(manifest, group.rank)
        new = Place(group.rank, group.world)
        return laid_out_anew(lambda rank: self._part(manifest, rank), manifest.world_size, new)

    def _part(self, manifest: Manifest, rank: int) -> RankState:
        key = manifest.part_key(rank)
        buffer = fetch(self._storage, key, manifest.parts[rank])
        return _read(buffer, manifest, rank, self._storage.uri(key))

    def upload(self, state: RankState, iteration: int) -> Part:
        """Store this rank's part. No collective: it may run in another thread.

        Raises:
            TrainerError: when the store refuses it, or does not answer for too long.
        """
        key = layout.part_key(self._attempt, self._group.rank)
        if self._group.rank == 0:
            announce(self._uploads, iteration, self._attempt, self._group.world)
        shard = Shard(state)
        self._uploads.put_stream(f"{layout.folder(iteration)}/{key}", shard.open, shard.size)
        if shard.sha256 is None:
            raise TrainerError(
                FailureReason.STORAGE_UNAVAILABLE,
                f"the store took {key} without reading it to the end",
            )
        beginnings = [Beginning(size=size, sha256=sha256) for size, sha256 in shard.beginnings]
        return Part(key=key, size=shard.size, sha256=shard.sha256, beginnings=tuple(beginnings))

    def _prune(self, committed: Manifest) -> None:
        """Remove what is not needed; a store that refuses costs space, not the run."""
        try:
            self._fence()
            keys = [found.key for found in self._storage.list(layout.FOLDER + "/")]
            dropped = obsolete(keys, self._manifests(), self._keep_last, committed)
            self._storage.delete(dropped)
            if any(layout.attempt_of(key) not in (None, self._attempt) for key in dropped):
                withdraw_torn(self._storage, self._older_manifests())
        except TrainerError as error:
            logger.warning("old checkpoints were not removed, trying again later: %s", error)

    def _manifests(self) -> list[Manifest]:
        return [found.manifest for found in self._find() if found.manifest is not None]

    def _older_manifests(self) -> list[Manifest]:
        """Those of earlier attempts, one of which may have committed what was just removed."""
        return [one for one in self._manifests() if one.attempt < self._attempt]

    def _find(self) -> list[Found]:
        keys = [found.key for found in self._storage.list(layout.FOLDER + "/")]
        iterations = {
            iteration
            for key in keys
            if (iteration := layout.iteration_of(key)) is not None
            and key == layout.manifest_key(iteration)
        }
        found = (self._found(iteration) for iteration in sorted(iterations, reverse=True))
        return [one for one in found if one is not None]

    def _found(self, iteration: int) -> Found | None:
        """None where it was removed since it was listed."""
        key = layout.manifest_key(iteration)
        try:
            data = self._storage.get_bytes(key, layout.MAX_MANIFEST_BYTES)
            return Found(iteration, read_manifest(data, self._storage.uri(key)))
        except DamagedError as error:
            return Found(iteration, damage=str(error))
        except TrainerError as error:
            if error.reason is FailureReason.NOT_FOUND:
                return None
            raise

    def _load_whole(self, found: Found) -> RankState | None:
        """This rank's part when every rank's is whole, else None on all ranks."""
        if found.manifest is None:
            self._warn(found.iteration, found.damage)
            return None
        self._refuse_other(found.manifest)
        manifest, state = found.manifest, None

        def attempt() -> str:
            nonlocal state
            try:
                state = self.load(manifest)
            except DamagedError as error:
                return str(error)
            return ""

        damages = [damage for damage in together(self._group, attempt) if damage]
        for damage in damages:
            self._warn(found.iteration, damage)
        return None if damages else state

    def _refuse_other(self, manifest: Manifest) -> None:
        """Raise unless the checkpoint is of this run's settings."""
        where = self._storage.uri(layout.folder(manifest.iteration))
        changed = "; ".join(differences(self._settings, completed(manifest.settings)))
        if changed:
            raise TrainerError(
                FailureReason.INVALID_CONFIGURATION,
                f"checkpoint {where} is of other settings ({changed}): set them back, or give "
                "another storage folder to train anew",
            )

    def _retire(self, damaged: list[Found]) -> None:
        """Take damaged checkpoints out of the count, their manifests kept for a look at them."""
        for found in damaged:
            key = layout.manifest_key(found.iteration)
            data = self._storage.get_bytes(key, layout.MAX_MANIFEST_BYTES)
            self._storage.put_bytes(f"{layout.folder(found.iteration)}/{RETIRED_NAME}", data)
            self._storage.delete([key])

    def _warn(self, iteration: int, damage: str) -> None:
        if self._group.rank == 0:
            logger.error(
                "the checkpoint of iteration %d is DAMAGED and not used; going back to the one "
                "before it: %s",
                iteration,
                damage,
            )

    def _ref(self, manifest: Manifest) -> CheckpointRef:
        uri = self._storage.uri(layout.folder(manifest.iteration))
        return CheckpointRef(uri=uri, iteration=manifest.iteration, time=manifest.time)


def _read(buffer: memoryview, manifest: Manifest, rank: int, uri: str) -> RankState:
    """The state in verified bytes, checked to be of this iteration, rank and number of ranks."""
    try:
        state = read_shard(buffer)
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"{uri} is no rank state: {error}") from error
    expected = {"iteration": manifest.iteration, "rank": rank, "worldSize": manifest.world_size}
    for name, value in expected.items():
        if state.meta.get(name) != value:
            raise DamagedError(f"{uri} has {name} {state.meta.get(name)!r} in place of {value}")
    return state
