"""Looks whether models and files are there, without fetching them.

Rules this module keeps:

* What is absent is told with the reference, as the user wrote it, and the remedy: alike before a
  run and when it fetches.
* The Hub is not asked.
"""

from __future__ import annotations

import os
from pathlib import Path

from sid_trainer.config.endpoint import Server
from sid_trainer.config.file_uri import path_of
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.models.hub_models import CONFIG
from sid_trainer.models.pipeline_index import INDEX, check_pipeline
from sid_trainer.models.reference import place_of
from sid_trainer.storage import open_storage
from sid_trainer.storage.base import not_found
from sid_trainer.storage.path_errors import not_readable


def check_model(reference: str, endpoint: Server = None, only: str | None = None) -> str | None:
    """Look whether a pipeline is there, without fetching it. A Hugging Face id is not asked for.

    Args:
        reference: a path, ``s3://bucket/key``, or a Hugging Face id.
        endpoint: the S3 server, or its URL; AWS when None.
        only: the one component that is needed; all by default.

    Returns:
        The pipeline's class; None where the Hub would have to be asked.

    Raises:
        TrainerError: as :func:`~sid_trainer.models.fetching.fetch_model`.
    """
    match place_of(reference):
        case "s3":
            storage = open_storage(reference, endpoint)
            keys = [found.key for found in storage.list()]
            if INDEX not in keys:
                raise _no_pipeline(reference)
            folders = {key.partition("/")[0] for key in keys}
            return check_pipeline(storage.get_bytes(INDEX), folders.__contains__, reference, only)
        case "path":
            return class_in(local_path(reference), reference, only)
        case "hub":
            return None


def check_folder(reference: str, endpoint: Server = None) -> None:
    """Look whether a transformers model is there, without fetching it. The Hub is not asked.

    Raises:
        TrainerError: as :func:`~sid_trainer.models.fetching.fetch_folder`.
    """
    match place_of(reference):
        case "s3":
            there = open_storage(reference, endpoint).exists(CONFIG)
        case "path":
            there = (local_path(reference) / CONFIG).is_file()
        case "hub":
            there = True
    if not there:
        raise no_transformer(reference)


def check_file(uri: str, endpoint: Server = None) -> None:
    """Look whether a file is there, without fetching it.

    Raises:
        TrainerError: as :func:`~sid_trainer.models.fetching.fetch_file`.
    """
    if not uri.startswith("s3://"):
        local_file(uri)
        return
    parent, name = parent_and_name(uri)
    if not open_storage(parent, endpoint).exists(name):
        raise no_file(uri)


def class_in(folder: Path, reference: str, only: str | None) -> str:
    """The class of the pipeline that a folder holds.

    Raises:
        TrainerError: as :func:`~sid_trainer.models.pipeline_index.check_pipeline`.
    """
    index = folder / INDEX
    if not index.is_file():
        raise _no_pipeline(reference)
    index_bytes = index.read_bytes()
    return check_pipeline(index_bytes, lambda name: (folder / name).is_dir(), reference, only)


def local_path(reference: str) -> Path:
    """The path that a reference to a model gives.

    Raises:
        TrainerError: ``NotFound`` when nothing is there.
    """
    absolute = reference.startswith(("/", "file:"))
    hint = "" if absolute else ", or give a Hugging Face id such as owner/name"
    return _existing(reference, hint)


def local_file(uri: str) -> Path:
    """The path of a file, which can be read.

    Raises:
        TrainerError: ``NotFound``, ``AccessDenied``, or ``InvalidConfiguration`` for a folder.
    """
    path = _existing(uri)
    if not path.is_file():
        raise TrainerError(
            FailureReason.INVALID_CONFIGURATION, f"{uri} is not a file: give the file itself"
        )
    if not os.access(path, os.R_OK):
        raise not_readable(uri)
    return path


def parent_and_name(uri: str) -> tuple[str, str]:
    """Folder and last segment of the ``s3://`` address of an object.

    Raises:
        TrainerError: ``InvalidConfiguration`` when it names none.
    """
    parent, _, name = uri.rpartition("/")
    if not name or parent == "s3:/":
        raise TrainerError(
            FailureReason.INVALID_CONFIGURATION,
            f"{uri} names no object: give s3://bucket/key with the key of the file",
        )
    return parent, name


def _existing(reference: str, hint: str = "") -> Path:
    path = path_of(reference)
    if path.exists():
        return path
    raise not_found(reference, f"check the path and that its volume is mounted{hint}")


def _no_pipeline(reference: str) -> TrainerError:
    return not_found(
        f"{reference.rstrip('/')}/{INDEX}",
        "give the directory of a diffusers pipeline, as save_pretrained writes it",
    )


def no_transformer(reference: str) -> TrainerError:
    """That there is no transformers model."""
    return not_found(
        f"{reference.rstrip('/')}/{CONFIG}",
        "give the directory of a transformers model, as save_pretrained writes it",
    )


def no_file(uri: str) -> TrainerError:
    """That there is no such object."""
    return not_found(uri, "upload it there, or correct the address")
