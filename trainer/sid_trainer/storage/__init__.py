"""Where a run writes: one small interface over a folder and over S3.

``open_storage("file:///path")`` and ``open_storage("s3://bucket/prefix", endpoint)`` give the same
:class:`Storage`; nothing else in the trainer knows which one it has.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from sid_trainer.config.endpoint import Endpoint, Server
from sid_trainer.config.file_uri import folder_of
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.storage.base import BegunUpload, ObjectInfo, Storage, safe_key
from sid_trainer.storage.file import FileStorage
from sid_trainer.storage.retry import LONG_PATIENCE, Patience

__all__ = [
    "LONG_PATIENCE",
    "BegunUpload",
    "Endpoint",
    "FileStorage",
    "ObjectInfo",
    "Patience",
    "Storage",
    "open_storage",
    "safe_key",
]


def open_storage(uri: str, endpoint: Server = None, patience: Patience | None = None) -> Storage:
    """The storage behind a URI.

    Args:
        uri: ``s3://bucket/prefix`` or ``file:///path``.
        endpoint: the S3 server, or its URL; AWS when None. Not used for ``file://``.
        patience: how long a server that does not answer is asked again; 20 s by default.

    Raises:
        TrainerError: ``InvalidConfiguration`` for another scheme, a bucket that has no name, or a
            ``file://`` without an absolute path; ``AccessDenied`` when S3 credentials are missing.
    """
    parts = urlsplit(uri)
    if parts.scheme == "file":
        return FileStorage(_folder(uri))
    if parts.scheme != "s3" or not parts.netloc:
        raise TrainerError(
            FailureReason.INVALID_CONFIGURATION,
            f"storage {uri!r} is neither s3://bucket/prefix nor file:///path",
        )
    from sid_trainer.storage.s3 import S3Storage  # noqa: PLC0415 - only who needs S3 needs minio

    return S3Storage(parts.netloc, _prefix(uri), endpoint, patience=patience)


def _folder(uri: str) -> Path:
    try:
        return folder_of(uri)
    except ValueError as error:
        raise TrainerError(FailureReason.INVALID_CONFIGURATION, f"storage {error}") from None


def _prefix(uri: str) -> str:
    """Key prefix of an ``s3://`` URI, taken literally: ``?`` and ``#`` belong to keys."""
    prefix = uri.removeprefix("s3://").partition("/")[2].strip("/")
    if prefix:
        try:
            safe_key(prefix)
        except ValueError as error:
            raise TrainerError(FailureReason.INVALID_CONFIGURATION, f"{uri}: {error}") from error
    return prefix
