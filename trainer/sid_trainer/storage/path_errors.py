"""What the system's errors with a path mean to a user."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.storage.base import not_found


@contextmanager
def path_errors(verb: str, path: str) -> Iterator[None]:
    """Turn the system's errors within the block into ours.

    Args:
        verb: what is done with the path, for the message.
        path: what is at fault when the system refuses.

    Raises:
        TrainerError: ``AccessDenied``, else ``StorageUnavailable``: a stale handle, a failed read
            or a full disk may be over at the next attempt.
    """
    try:
        yield
    except PermissionError as error:
        raise TrainerError(
            FailureReason.ACCESS_DENIED,
            f"cannot {verb} {path}: permission denied; check the owner and mode of the folder",
        ) from error
    except OSError as error:
        hint = "free space there" if error.errno == errno.ENOSPC else "check the volume"
        raise TrainerError(
            FailureReason.STORAGE_UNAVAILABLE,
            f"cannot {verb} {path}: {error.strerror or error}; {hint}",
        ) from error


def not_readable(name: Path | str) -> TrainerError:
    """``AccessDenied`` for what lies on a volume and may not be read, with the remedy."""
    return TrainerError(
        FailureReason.ACCESS_DENIED,
        f"{name} may not be read by user {os.getuid()}: correct its mode or owner",
    )


def open_path(path: Path, name: str) -> BufferedReader:
    """Open a file for reading.

    Args:
        path: where it is.
        name: its address as the user knows it.

    Raises:
        TrainerError: ``NotFound`` when it is absent; as :func:`path_errors`.
    """
    with path_errors("read", str(path)):
        try:
            return path.open("rb")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise not_found(name, "check the path and the volume mount") from error
