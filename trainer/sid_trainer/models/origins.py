"""Which models exactly a run starts from: the same on all ranks, and in all its attempts.

Every rank loads its shard from its own node's files, and each replacement of a pod reads them anew.
A branch that moves in between, or another volume on one node, would make a network of two.

Rules this module keeps:

* Rank 0 asks the Hub which commit a model is, and all ranks fetch that one.
* Of a bucket or a path all ranks compare what they have: names, sizes and a sample of the content,
  a few hundred blocks of tens of gigabytes.
* A first student that is gone is not missed by a run that has a checkpoint.
* A checkpoint tells its models. A run that goes on fetches the same commits, and is refused where
  the teacher's files are others. Checkpoints from before they told it are gone on from.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from sid_trainer.checkpoint.finding import manifests
from sid_trainer.checkpoint.manifest import Manifest
from sid_trainer.checkpoint.settings import completed
from sid_trainer.config import RunConfig
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.models.fetching import commit_of
from sid_trainer.models.file_sample import BLOCK, places
from sid_trainer.models.pipeline_index import INDEX
from sid_trainer.process.failures import naming
from sid_trainer.process.group import ProcessGroup
from sid_trainer.storage import Storage
from sid_trainer.storage.path_errors import not_readable

TEACHER, STUDENT = "teacher.model", "student.initFrom"
"""The fields that name models: keys of :data:`Origins`."""

Origins = Mapping[str, str]
"""``commit:`` and the commit, or ``files:`` and a checksum, by the field that names the model."""

_COMMIT, _FILES = "commit:", "files:"
_SUFFIXES = (".json", ".safetensors", ".txt", ".model")


@dataclass(frozen=True)
class Pins:
    """What is known before models are fetched.

    Attributes:
        commits: of the models that are on the Hub, by field.
        recorded: origins that the newest checkpoint tells.
        resumes: whether there is a checkpoint to go on from.
    """

    commits: Mapping[str, str] = field(default_factory=dict)
    recorded: Origins = field(default_factory=dict)
    resumes: bool = False

    def fetch(self, name: str, fetch: Callable[[str | None], Path]) -> Path:
        """A model at its commit.

        Raises:
            TrainerError: naming the field; ``NotFound`` where the commit of a checkpoint is gone.
        """
        commit = self.commits.get(name)
        with naming(name):
            try:
                return fetch(commit)
            except TrainerError as error:
                gone = error.reason is FailureReason.NOT_FOUND and name in self.recorded
                if commit is None or not gone:
                    raise
                raise TrainerError(
                    error.reason,
                    f"the run's checkpoints were made with commit {commit}, which cannot be had "
                    f"any more ({error}): have it restored, or give another storage folder to "
                    "train anew",
                ) from error

    def require_teacher(self, origins: Origins) -> None:
        """Raise ``InvalidConfiguration`` where the teacher is not that of the checkpoint."""
        if origins[TEACHER] != self.recorded.get(TEACHER, origins[TEACHER]):
            raise TrainerError(
                FailureReason.INVALID_CONFIGURATION,
                f"{TEACHER} holds other files than when the run's checkpoints were made: bring "
                "those back, or give another storage folder to train anew",
            )


def find_pins(config: RunConfig, storage: Storage, binding: Mapping[str, Any]) -> Pins:
    """Which models are to be fetched; on rank 0 alone.

    Args:
        config: the run.
        storage: its folder.
        binding: settings that bind its checkpoints.

    Raises:
        TrainerError: naming the field whose model is not on the Hub, or not of
            ``teacher.family``.
    """
    ours = [manifest for manifest in manifests(storage) if _is_of(manifest, binding)]
    recorded = next((dict(manifest.origins) for manifest in ours if manifest.origins), {})
    teacher = config.teacher
    wanted = {TEACHER: partial(commit_of, teacher.model, teacher.revision, teacher.family)}
    if config.student.init_from is not None:
        wanted[STUDENT] = partial(commit_of, config.student.init_from)
    commits: dict[str, str | None] = {}
    for name, commit_now in wanted.items():
        try:
            with naming(name):
                commits[name] = recorded_commit(recorded, name) or commit_now()
        except TrainerError as error:
            if name != STUDENT or not is_lost(error, resumes=bool(ours)):
                raise
    known = {name: commit for name, commit in commits.items() if commit}
    return Pins(known, recorded, resumes=bool(ours))


def recorded_commit(origins: Origins, name: str) -> str | None:
    """The commit of a model of the Hub."""
    origin = origins.get(name, "")
    return origin.removeprefix(_COMMIT) if origin.startswith(_COMMIT) else None


def is_lost(error: TrainerError, *, resumes: bool) -> bool:
    """Whether it is said of a first student that it is gone, and a checkpoint can stand in."""
    return resumes and error.reason is FailureReason.NOT_FOUND


def origin_of(folder: Path, commit: str | None) -> str:
    """Which model it is that was fetched.

    Args:
        folder: the pipeline, on this node.
        commit: of a model of the Hub.
    """
    return f"{_COMMIT}{commit}" if commit else _FILES + sampled(folder)


def require_same_models(group: ProcessGroup, origins: Origins) -> None:
    """Raise on every rank when nodes have different models; a collective.

    Raises:
        TrainerError: ``StorageUnavailable``, because another start may find the files at rest.
    """
    of_ranks = group.all_gather(dict(origins))
    for name in origins:
        if len({str(each.get(name)) for each in of_ranks}) > 1:
            raise TrainerError(
                FailureReason.STORAGE_UNAVAILABLE,
                f"{name} is not the same on all nodes: mount the same volume in every pod, and "
                "leave the model's files as they are while the run starts",
            )


def sampled(pipeline: Path) -> str:
    """Checksum of what a pipeline's components are loaded from, as far as a sample tells.

    Raises:
        TrainerError: ``AccessDenied`` where a file may not be read.
    """
    index: dict[str, Any] = json.loads((pipeline / INDEX).read_bytes())
    components = {name: what for name, what in index.items() if not name.startswith("_")}
    files = (file for name in components for file in (pipeline / name).rglob("*"))
    loaded = sorted(file for file in files if file.suffix in _SUFFIXES and file.is_file())
    facts = [components, [(str(file.relative_to(pipeline)), *_sample(file)) for file in loaded]]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _sample(file: Path) -> tuple[int, str]:
    """Size and checksum of a sample."""
    found = hashlib.sha256()
    try:
        with file.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            for place in places(size):
                stream.seek(place)
                found.update(stream.read(BLOCK))
    except PermissionError as error:
        raise not_readable(file) from error
    return size, found.hexdigest()


def _is_of(manifest: Manifest, binding: Mapping[str, Any]) -> bool:
    """Whether a checkpoint's models are asked for now; if not, the run will not go on from it."""
    theirs = completed(manifest.settings)
    return all(theirs.get(section) == binding.get(section) for section in ("teacher", "student"))
