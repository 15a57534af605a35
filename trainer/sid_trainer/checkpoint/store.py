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
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sid_trainer.checkpoint import layout
from sid_trainer.checkpoint.commit import announce, commit_manifest
from sid_trainer.checkpoint.fetching import fetch
from sid_trainer.checkpoint.finding import Found, find, retire
from sid_trainer.checkpoint.manifest import Beginning, DamagedError, Manifest, PartFile
from sid_trainer.checkpoint.pruning import Pruner
from sid_trainer.checkpoint.reshard import ShardOf, laid_out_anew
from sid_trainer.checkpoint.settings import completed, differences, digest
from sid_trainer.checkpoint.shard import Shard, read_shard
from sid_trainer.checkpoint.state import RankState
from sid_trainer.contract import CheckpointRef, FailureReason, TrainerError
from sid_trainer.process.group import ProcessGroup, from_first, together
from sid_trainer.storage import Storage

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Resumed:
    """Where a run goes on: the state of this rank after ``iteration`` finished iterations.

    ``passed_over`` tells of newer checkpoints why they are not used.
    """

    iteration: int
    state: RankState
    ref: CheckpointRef
    passed_over: tuple[str, ...] = ()


class CheckpointStore:
    """The checkpoints of a run.

    Args:
        storage: the run's folder.
        group: the ranks.
        settings: settings that bind the state (:func:`~.settings.resume_settings`).
        pruner: removes older checkpoints after a commit. Its attempt is this one, whose parts never
            share a key with another's, and its fence stands before a commit, too.
        uploads: the same folder, where parts and commits have a patience of their own: training
            goes on meanwhile. The same as ``storage`` by default.
        origins: which models the run starts from, for the manifests.
    """

    def __init__(
        self,
        storage: Storage,
        group: ProcessGroup,
        settings: dict[str, Any],
        pruner: Pruner,
        *,
        uploads: Storage | None = None,
        origins: Mapping[str, str] | None = None,
    ) -> None:
        self._storage, self._group, self._pruner = storage, group, pruner
        self._uploads = uploads or storage
        self._settings, self._attempt = settings, pruner.attempt
        self._origins = dict(origins or {})

    def save(self, state: RankState, iteration: int) -> CheckpointRef:
        """Store every rank's state and commit; a collective.

        Raises:
            TrainerError: on every rank, when one could not store its part; nothing is committed.
        """
        parts = together(self._group, lambda: self.upload(state, iteration))
        return from_first(self._group, lambda: self.commit(parts, iteration))

    def commit(self, parts: list[PartFile], iteration: int) -> CheckpointRef:
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
            world_size=self._group.world_size,
            attempt=self._attempt,
            time=datetime.now(UTC),
            settings_digest=digest(self._settings),
            settings=self._settings,
            parts=tuple(parts),
            origins=self._origins,
        )
        commit_manifest(self._uploads, manifest, self._pruner.fence)
        self._pruner.prune(manifest)
        return self._ref(manifest)

    def latest(self) -> list[Found]:
        """All committed checkpoints, the newest first; a collective."""
        return from_first(self._group, lambda: find(self._storage))

    def resume(self) -> Resumed | None:
        """Load the newest whole checkpoint; None when there is none at all; a collective.

        Raises:
            TrainerError: ``InvalidConfiguration`` when it is of other settings, ``InvalidData``
                when there are checkpoints and none is whole.
        """
        damaged: list[Found] = []
        for found in self.latest():
            state, damage = self._load_whole(found)
            if state is not None and found.manifest is not None:
                if damaged:  # the same ones on all ranks
                    from_first(self._group, lambda: retire(self._storage, damaged))
                told = tuple(each.told for each in damaged)
                return Resumed(found.iteration, state, self._ref(found.manifest), told)
            damaged.append(replace(found, damage=damage))
            self._warn(damaged[-1])
        if damaged:
            raise TrainerError(
                FailureReason.INVALID_DATA,
                f"none of the {len(damaged)} checkpoints under "
                f"{self._storage.uri(layout.FOLDER)} is whole: restore the objects, or delete that "
                f"folder to train anew. {'. '.join(each.told for each in damaged)}",
            )
        return None

    def load(self, manifest: Manifest) -> RankState:
        """This rank's verified state, laid out anew where the number of ranks has changed.

        Raises:
            DamagedError: naming the object, when it is not what the manifest says.
        """
        group = self._group
        if manifest.world_size == group.world_size:
            return self._part(manifest, group.rank)
        new = ShardOf(group.rank, group.world_size)
        return laid_out_anew(lambda rank: self._part(manifest, rank), manifest.world_size, new)

    def _part(self, manifest: Manifest, rank: int) -> RankState:
        key = manifest.part_key(rank)
        buffer = fetch(self._storage, key, manifest.parts[rank])
        return _read(buffer, manifest, rank, self._storage.uri(key))

    def upload(self, state: RankState, iteration: int) -> PartFile:
        """Store this rank's part. No collective: it may run in another thread.

        Raises:
            TrainerError: when the store refuses it, or does not answer for too long.
        """
        key = layout.part_key(self._attempt, self._group.rank)
        if self._group.rank == 0:
            announce(self._uploads, iteration, self._attempt, self._group.world_size)
        shard = Shard(state)
        with ThreadPoolExecutor(1, "checksum") as pool:
            checksum = pool.submit(shard.checksums)
            self._uploads.put_buffers(f"{layout.folder(iteration)}/{key}", shard.buffers)
        found = checksum.result()
        beginnings = tuple(Beginning(size=size, checksum=value) for size, value in found.beginnings)
        return PartFile(key=key, size=shard.size, checksum=found.whole, beginnings=beginnings)

    def _load_whole(self, found: Found) -> tuple[RankState | None, str]:
        """This rank's part when every rank's is whole, else None on all ranks, and why."""
        if found.manifest is None or found.damage:
            return None, found.damage
        self._refuse_other(found.manifest)
        manifest, state = found.manifest, None

        def attempt() -> str:
            nonlocal state
            try:
                state = self.load(manifest)
            except DamagedError as error:
                return str(error)
            return ""

        # Ranks that need the same part of another number of ranks find the same damage.
        damages = dict.fromkeys(d for d in together(self._group, attempt) if d)
        return (None if damages else state), "; ".join(damages)

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

    def _warn(self, found: Found) -> None:
        if self._group.rank == 0:
            logger.error("%s. It is NOT USED; going back to the one before it", found.told)

    def _ref(self, manifest: Manifest) -> CheckpointRef:
        uri = self._storage.uri(layout.folder(manifest.iteration))
        return CheckpointRef(uri=uri, iteration=manifest.iteration, time=manifest.time)


def _read(buffer: memoryview, manifest: Manifest, rank: int, uri: str) -> RankState:
    """The state in verified bytes, checked to be of this iteration, rank and number of ranks."""
    try:
        state = read_shard(buffer)
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"{uri} is no rank state: {error}") from error
    problem = manifest.contradiction(rank, state.meta)
    if problem:
        raise DamagedError(f"{uri} {problem}")
    return state
