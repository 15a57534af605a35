"""The folder of cached encodings, and whether it can be used; needs no torch."""

from __future__ import annotations

import os

from sid_trainer.config.endpoint import Server
from sid_trainer.config.file_uri import path_of
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.storage import Storage, open_storage

_PROBE = "00"
"""Entries whose names begin so are listed to see whether the bucket is there: a part of them."""


def open_cache(uri: str, endpoint: Server = None) -> Storage:
    """The folder of a cache: ``s3://bucket/folder`` or a path."""
    in_s3 = uri.startswith("s3://")
    return open_storage(uri if in_s3 else path_of(uri).absolute().as_uri(), endpoint)


def check_cache(uri: str, endpoint: Server = None) -> None:
    """Look whether a cache can be used, without writing to it.

    Raises:
        TrainerError: ``NotFound``, ``AccessDenied`` or ``StorageUnavailable``, naming it.
    """
    storage = open_cache(uri, endpoint)
    if uri.startswith("s3://"):
        storage.list(_PROBE)
        return
    folder = path_of(uri).absolute()
    while not folder.exists():
        folder = folder.parent
    if not os.access(folder, os.W_OK | os.X_OK):
        raise TrainerError(
            FailureReason.ACCESS_DENIED,
            f"{uri} cannot be written: {folder} belongs to others or is mounted read-only; give a "
            f"folder that user {os.getuid()} may write to",
        )
