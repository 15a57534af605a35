"""Downloads that the processes of a node share.

Rules this module keeps:

* One download a node: its ranks share it under a file lock, and a finished one is reused by the
  next start in the same pod.
* A folder that is there is whole; what is on its way, in or out, has another name.
* What may be removed while another rank wants it is opened under the lock (:func:`held`): an open
  file can be read to its end.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.storage import ObjectInfo, Storage

_MOVE = "mount a {} volume (workers.volumes) and name a folder on it in SID_CACHE (workers.env)"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_FULL_TEXT = f"os error {errno.ENOSPC})"  # libraries in Rust have it in an error of their own
_DENIED = (errno.EACCES, errno.EPERM)

logger = logging.getLogger(__name__)


def downloaded(storage: Storage, objects: list[ObjectInfo], folder: Path) -> Path:
    """The folder with all objects; the first process of the node downloads, the others wait."""
    with held(storage, objects, folder):
        return folder


@contextlib.contextmanager
def held(storage: Storage, objects: list[ObjectInfo], folder: Path) -> Iterator[None]:
    """As :func:`downloaded`; within the block nobody removes the folder (:func:`remove`)."""
    with locked(folder):
        if not folder.is_dir():
            _download(storage, objects, folder)
        yield


def remove(folder: Path) -> None:
    """Remove a download; one that another process has removed is no error."""
    gone = folder.with_name(folder.name + ".removed")
    with locked(folder):
        shutil.rmtree(gone, ignore_errors=True)  # of a process that was killed meanwhile
        with contextlib.suppress(FileNotFoundError):
            folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def _download(storage: Storage, objects: list[ObjectInfo], folder: Path) -> None:
    size = sum(found.size for found in objects)
    what = storage.uri(objects[0].key) if len(objects) == 1 else storage.uri()
    logger.info("downloading %s (%.1f MB)", what, size / 1e6)
    need_space(folder.parent, size, storage.uri())
    unfinished = folder.with_name(folder.name + ".partial")
    for found in objects:
        target = unfinished / found.key
        if not (target.is_file() and target.stat().st_size == found.size):
            storage.get_file(found.key, target)
    unfinished.rename(folder)


def digest(reference: str, variant: str | None, objects: list[ObjectInfo]) -> str:
    """A folder name that changes whenever the content does."""
    parts = [reference, variant, [(found.key, found.size, found.etag) for found in objects]]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


def need_space(folder: Path, size: int, what: str) -> None:
    """Raise ``StorageUnavailable`` when a folder has no room for ``size`` bytes of ``what``."""
    with cache_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < size:
        raise TrainerError(
            FailureReason.STORAGE_UNAVAILABLE,
            f"{what} has {size / 1e9:.1f} GB, and {folder} has {free / 1e9:.1f} GB free: "
            + _MOVE.format("larger"),
        )


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a lock beside the folder; released by the system when the process dies.

    Raises:
        TrainerError: as :func:`cache_errors`, also for what fails within the block.
    """
    with cache_errors(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder.with_name(folder.name + ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


@contextlib.contextmanager
def cache_errors(folder: Path) -> Iterator[None]:
    """Tell that a folder of the cache is full or may not be written, where that fails the block.

    Raises:
        TrainerError: as :func:`cache_error`.
    """
    try:
        yield
    except Exception as error:
        told = cache_error(error, folder)
        if told is None:
            raise
        raise told from error


def cache_error(error: Exception, folder: Path) -> TrainerError | None:
    """What an error says of a folder of the cache: that it is full, or may not be written.

    Args:
        error: of the system, or of a library that has its text.
        folder: what was written to.

    Returns:
        ``StorageUnavailable`` or ``AccessDenied``, with the remedy; None for any other error.
    """
    number = error.errno if isinstance(error, OSError) else None
    if number in _FULL or _FULL_TEXT in str(error):
        return TrainerError(
            FailureReason.STORAGE_UNAVAILABLE, f"{folder} is full: {_MOVE.format('larger')}"
        )
    named = Path((isinstance(error, OSError) and error.filename) or folder)
    ours = named.is_relative_to(folder) or folder.is_relative_to(named)
    if number == errno.EROFS or (number in _DENIED and ours):
        return TrainerError(
            FailureReason.ACCESS_DENIED,
            f"{named} may not be written by user {os.getuid()}: {_MOVE.format('writable')}, or "
            "correct its owner (workers.fsGroup)",
        )
    return None
