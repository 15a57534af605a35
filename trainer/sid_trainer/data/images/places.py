"""Where a set of images is: from an address such as ``data.images.uri`` to its parts, by listings.

It is called before torch is loaded, so that what is not there is told in seconds.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sid_trainer.config import RunConfig
from sid_trainer.config.endpoint import Server
from sid_trainer.config.file_uri import SCHEME, path_of
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.data.images.folder import folder_parts
from sid_trainer.data.images.parts import ImagePart, LocalShard, StoredShard, is_hidden, suffix_of
from sid_trainer.data.images.sample import IMAGE_SUFFIXES, bad_data
from sid_trainer.process.failures import naming
from sid_trainer.storage import ObjectInfo, Storage, open_storage
from sid_trainer.storage.base import not_found

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_COMPRESSED = (".tar.gz", ".tgz", ".tar.zst", ".tar.xz", ".tar.bz2")
_WANTED = "give WebDataset shards (.tar), or a folder with .jpg, .png or .webp images"


def needed_parts(config: RunConfig) -> list[ImagePart] | None:
    """The parts of ``data.images``, or None for data-free training; by listings alone.

    Raises:
        TrainerError: as :func:`find_parts`, with the field.
    """
    images = config.data.images
    if images is None or config.distillation.adversarial is None:
        return None
    with naming("data.images.uri"):
        return find_parts(images.uri, config.storage.server)


def find_parts(uri: str, endpoint: Server = None, captioned: bool = True) -> list[ImagePart]:
    """The parts of the data set at an address, in the order of their names.

    Args:
        uri: ``s3://bucket/folder``, ``s3://bucket/shard-{000..099}.tar``, or a path.
        endpoint: the S3 server, or its URL; AWS when None.
        captioned: whether each image must have a caption; otherwise none is looked for.

    Raises:
        TrainerError: ``NotFound``, ``InvalidData`` or ``InvalidConfiguration``, naming what is
            missing or cannot be used, and the remedy.
    """
    if uri.startswith(SCHEME):
        uri = str(path_of(uri))
    if uri.lower().endswith(_COMPRESSED):
        raise bad_data(uri, "is compressed", "unpack it to a plain .tar: shards are read in place")
    if _RANGE.search(uri) or uri.endswith(".tar"):
        return _named_shards(uri, endpoint, captioned)
    return _in_folder(_Folder(uri.rstrip("/") or "/", endpoint, captioned))


@dataclass(frozen=True)
class _Folder:
    """A folder by its address, in S3 or on a mounted volume."""

    address: str
    endpoint: Server
    captioned: bool

    @cached_property
    def storage(self) -> Storage:
        if self.address.startswith("s3://"):
            return open_storage(self.address, self.endpoint)
        return open_storage(self._path.absolute().as_uri())

    def listing(self, prefix: str = "") -> list[ObjectInfo]:
        """Its files but hidden ones."""
        if not self.address.startswith("s3://") and not self._path.is_dir():
            raise not_found(self.address, "check the path and that its volume is mounted")
        return [found for found in self.storage.list(prefix) if not is_hidden(found.key)]

    def shard(self, found: ObjectInfo) -> ImagePart:
        """One of its files as a shard."""
        version = f"{found.size}-{found.etag}"
        if self.address.startswith("s3://"):
            name = f"{self.address}/{found.key}"
            return StoredShard(name, version, self.endpoint, self.captioned)
        return LocalShard(str(self._path / found.key), version, self.captioned)

    @property
    def _path(self) -> Path:
        return Path(self.address)


def expanded(pattern: str) -> list[str]:
    """The names that a pattern with ranges such as ``{000..099}`` stands for, in order.

    Raises:
        TrainerError: ``InvalidConfiguration`` for a range that goes down.
    """
    pieces = _RANGE.split(pattern)
    texts, firsts, lasts = pieces[::3], pieces[1::3], pieces[2::3]
    ranges = [_numbers(first, last, pattern) for first, last in zip(firsts, lasts, strict=True)]
    return [
        "".join(itertools.chain.from_iterable(zip(texts, (*numbers, ""), strict=True)))
        for numbers in itertools.product(*ranges)
    ]


def _numbers(first: str, last: str, pattern: str) -> list[str]:
    if int(first) > int(last):
        raise TrainerError(
            FailureReason.INVALID_CONFIGURATION,
            f"{pattern} has a range that goes down: write {{{last}..{first}}}",
        )
    return [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]


def _named_shards(uri: str, endpoint: Server, captioned: bool) -> list[ImagePart]:
    """Shards that the address names one by one."""
    parent, _, start = uri.partition("{")[0].rpartition("/")
    folder = _Folder(parent or ("/" if uri.startswith("/") else "."), endpoint, captioned)
    there = {found.key: found for found in folder.listing(start)}
    names = [name.removeprefix(f"{parent}/") for name in expanded(uri)]
    missing = [name for name in names if name not in there]
    if missing:
        others = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise not_found(f"{parent}/{missing[0]}{others}", "upload it, or correct the address")
    return [folder.shard(there[name]) for name in names]


def _in_folder(folder: _Folder) -> list[ImagePart]:
    """All shards of a folder, or all its images."""
    found = folder.listing()
    shards = [info for info in found if info.key.endswith(".tar")]
    images = [info for info in found if suffix_of(info.key) in IMAGE_SUFFIXES]
    if shards and images:
        raise bad_data(
            folder.address,
            f"holds shards ({shards[0].key}) and images ({images[0].key})",
            "give the folder of one of them, or name the shards: shard-{000..099}.tar",
        )
    if images:
        return list(folder_parts(folder.storage, found, folder.captioned))
    if not shards:
        raise _nothing(folder.address, found)
    return [folder.shard(info) for info in shards]


def _nothing(address: str, found: Sequence[ObjectInfo]) -> TrainerError:
    """The error for a folder without shards and images."""
    if not found:
        if address.startswith("s3://"):
            return not_found(address, f"{_WANTED}, or correct the address")
        return bad_data(address, "is empty", _WANTED)
    packed = next((info.key for info in found if info.key.lower().endswith(_COMPRESSED)), None)
    if packed is not None:
        return bad_data(f"{address}/{packed}", "is compressed", "unpack it to a plain .tar")
    return bad_data(address, f"holds no shards and no images ({found[0].key})", _WANTED)
