"""Where prompt files are: a path, ``s3://``, or a dataset of the Hugging Face Hub.

Rules this module keeps:

* An address names one file, a folder (``.../folder/``), or a pattern in its last part
  (``.../*.parquet``). A folder means all files of a known format below it. Files are ordered by
  name.
* Each file has a version that changes with its content, so that nothing outdated is ever reused.
* Files are brought to this node one at a time, and only for as long as they are read.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from sid_trainer.config.endpoint import Server
from sid_trainer.config.file_uri import path_of
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.data.prompts.formats import check_format, is_prompt_file
from sid_trainer.data.prompts.hub import HUB, find_in_hub, parse_hub
from sid_trainer.models.node_cache import need_space
from sid_trainer.storage import Storage, open_storage
from sid_trainer.storage.base import not_found
from sid_trainer.storage.path_errors import not_readable, path_errors

_PATTERN = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class PromptFile:
    """One file of prompts.

    Attributes:
        uri: its address, for messages; the suffix tells its format.
        version: changes whenever the content does.
        local: brings it to a folder of this node while a block lasts.
    """

    uri: str
    version: str
    local: Callable[[Path], AbstractContextManager[Path]] = field(compare=False)


def find_files(uri: str, endpoint: Server = None) -> list[PromptFile]:
    """The files that an address names, ordered by name.

    Args:
        uri: ``s3://bucket/key``, a path, or ``hf://datasets/OWNER/NAME@REVISION/PATH``.
        endpoint: the S3 server, or its URL; AWS when None.

    Raises:
        TrainerError: ``NotFound``, ``AccessDenied``, ``StorageUnavailable``, or
            ``InvalidConfiguration``, naming the address.
    """
    if uri.startswith(HUB):
        files = [
            PromptFile(found.uri, found.commit, partial(_temporary, found.download))
            for found in find_in_hub(uri, select)
        ]
    elif uri.startswith("s3://"):
        files = _in_s3(uri, endpoint)
    else:
        files = _on_disk(uri)
    for file in files:
        check_format(file.uri)
    return files


def look_for_files(uri: str, endpoint: Server = None) -> None:
    """Look whether there are such files, reading none. The Hub is not asked.

    Raises:
        TrainerError: as :func:`find_files`.
    """
    if uri.startswith(HUB):
        parse_hub(uri)
    else:
        find_files(uri, endpoint)


def select(names: list[str], wanted: str, uri: str) -> list[str]:
    """Names that an address means, sorted.

    Args:
        names: what there is, relative to the address's root.
        wanted: a name, a folder (empty, or ending in ``/``), or a pattern in the last part.
        uri: the address, for messages.

    Raises:
        TrainerError: ``NotFound`` when there is none.
    """
    folder, _, last = wanted.rpartition("/")
    if wanted in names:
        return [wanted]
    if not last:
        start = f"{folder}/" if folder else ""
        found = [name for name in names if name.startswith(start) and is_prompt_file(name)]
        found = [name for name in found if "." in name.rpartition("/")[2]]
        remedy = "put .txt, .jsonl, .csv, .tsv or .parquet files there, or correct the address"
    else:
        found = [
            name
            for name in names
            if _PATTERN.search(last)
            and name.rpartition("/")[0] == folder
            and fnmatchcase(name.rpartition("/")[2], last)
        ]
        remedy = "upload it there, or correct the address"
        if any(name.startswith(f"{wanted}/") for name in names):
            remedy = "it is a folder: end the address with / to take all its files"
    if not found:
        raise not_found(uri, remedy)
    return sorted(found)


def _in_s3(uri: str, endpoint: Server) -> list[PromptFile]:
    parent, _, last = uri.rpartition("/")
    if parent == "s3:/":
        raise TrainerError(
            FailureReason.INVALID_CONFIGURATION,
            f"{uri} names no object: give s3://bucket/key with the key of the file, or "
            "s3://bucket/folder/",
        )
    storage = open_storage(parent, endpoint)
    fixed = _PATTERN.split(last)[0]
    found = {o.key: o for o in storage.list(fixed)}
    return [
        PromptFile(
            storage.uri(name),
            f"{found[name].size}-{found[name].etag}",
            partial(_temporary, partial(_download, storage, name, found[name].size)),
        )
        for name in select(list(found), last, uri)
    ]


def _on_disk(uri: str) -> list[PromptFile]:
    try:
        return _in_folder(uri)
    except PermissionError as error:
        raise not_readable(error.filename or uri) from error


def _in_folder(uri: str) -> list[PromptFile]:
    path = path_of(uri)
    if path.is_dir():
        root, wanted = path, ""
    else:
        root, wanted = path.parent, path.name
    names = [found.relative_to(root).as_posix() for found in _below(root, deep=not wanted)]
    if not names and not path.is_dir():
        raise not_found(uri, "check the path and that its volume is mounted")
    return [_local_file(root / name) for name in select(names, wanted, uri)]


def _below(root: Path, *, deep: bool) -> Iterator[Path]:
    return (found for found in (root.rglob("*") if deep else root.glob("*")) if found.is_file())


def _local_file(path: Path) -> PromptFile:
    if not os.access(path, os.R_OK):
        raise not_readable(path)
    stat = path.stat()
    version = f"{stat.st_size}-{stat.st_mtime_ns}-{stat.st_ino}"
    return PromptFile(str(path), version, partial(_in_place, path))


@contextmanager
def _in_place(path: Path, scratch: Path) -> Iterator[Path]:
    del scratch
    with path_errors("read", str(path)):
        yield path


@contextmanager
def _temporary(download: Callable[[Path], Path], scratch: Path) -> Iterator[Path]:
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        yield download(Path(folder))


def _download(storage: Storage, key: str, size: int, folder: Path) -> Path:
    need_space(folder, size, storage.uri(key))
    path = folder / "file"
    storage.get_file(key, path)
    return path
