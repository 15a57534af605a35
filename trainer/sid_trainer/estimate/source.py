"""Where a teacher's configuration files come from: the built-in facts, a path, a bucket, the Hub.

Rule this module keeps: only small JSON files are fetched, never weights.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from sid_trainer.config import TeacherConfig
from sid_trainer.config.endpoint import Server
from sid_trainer.config.file_uri import path_of
from sid_trainer.estimate.known import KNOWN
from sid_trainer.estimate.skeleton import Skeleton
from sid_trainer.models.hub import hub_errors, token
from sid_trainer.models.pipeline_index import INDEX
from sid_trainer.models.reference import place_of
from sid_trainer.storage import open_storage
from sid_trainer.storage.base import not_found

_FILES = (INDEX, "config.json", "tokenizer_config.json")


def find_skeleton(teacher: TeacherConfig, endpoint: Server = None) -> Skeleton:
    """The configuration files of a run's teacher.

    Raises:
        TrainerError: ``NotFound``, ``AccessDenied`` or ``StorageUnavailable``, with the reference.
    """
    model = teacher.model
    if model in KNOWN:
        return KNOWN[model]
    match place_of(model):
        case "s3":
            return _from_s3(model, endpoint)
        case "path":
            return _from_folder(path_of(model), model)
        case "hub":
            return _from_hub(model, teacher.revision)


def _from_folder(folder: Path, reference: str) -> Skeleton:
    if not (folder / INDEX).is_file():
        known = ", ".join(KNOWN)
        raise not_found(
            f"{reference.rstrip('/')}/{INDEX}",
            "give a diffusers pipeline that can be read from here, or, of the same architecture, "
            f"one of {known}",
        )
    return Skeleton.read(folder)


def _from_s3(reference: str, endpoint: Server) -> Skeleton:
    storage = open_storage(reference, endpoint)
    with tempfile.TemporaryDirectory(prefix="sid-estimate-") as folder:
        for found in storage.list():
            if Path(found.key).name in _FILES:
                storage.get_file(found.key, Path(folder) / found.key)
        return _from_folder(Path(folder), reference)


def _from_hub(reference: str, revision: str | None) -> Skeleton:
    from huggingface_hub import snapshot_download

    no_index = not_found(f"{reference}/{INDEX}", "give the id of a diffusers pipeline")
    patterns = [INDEX, *(f"*/{name}" for name in _FILES[1:])]
    with (
        tempfile.TemporaryDirectory(prefix="sid-estimate-") as folder,
        hub_errors(reference, "teacher.revision", no_index),
    ):
        snapshot_download(
            reference,
            revision=revision,
            local_dir=folder,
            token=token(),
            allow_patterns=patterns,
        )
        return _from_folder(Path(folder), reference)
