"""The samples of a WebDataset shard: a plain tar whose members share a name up to the first dot.

Rules this module keeps:

* Members are read in place by offset, from several threads at once; nothing is unpacked.
* An archive that ends early, or is damaged between members, is an error, never a shorter shard.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import PurePosixPath
from typing import BinaryIO

from sid_trainer.data.images.sample import (
    CAPTION_READERS,
    IMAGE_SUFFIXES,
    Sample,
    bad_data,
    no_caption,
    without_caption,
)
from sid_trainer.storage.path_errors import path_errors

_BLOCK = 512
_REMEDY = "upload it again, whole, as a plain uncompressed tar"


@dataclass(frozen=True)
class Member:
    """A file in a tar: where its bytes are."""

    name: str
    offset: int
    size: int

    @property
    def key(self) -> str:
        """What the members of one sample share: folder and name up to the first dot."""
        path = PurePosixPath(self.name)
        return str(path.with_name(path.name.partition(".")[0]))

    @property
    def suffix(self) -> str:
        """All after the first dot, in lower case."""
        return PurePosixPath(self.name).name.partition(".")[2].lower()


class TarShard:
    """The samples of one shard on this node's disk, which is open until :meth:`close`.

    An open shard can be read to its end even when its file is removed meanwhile: nothing is read
    but through the one open file.

    Args:
        file: the tar, open; it is closed when its table is read.
        name: its address, for messages.
        captioned: whether each image must have a caption; otherwise none is looked for.

    Attributes:
        samples: those with an image, in the shard's order.
        without_image: number of those that have none, such as records of failed downloads.

    Raises:
        TrainerError: ``InvalidData`` when it is no whole tar, or an image has no caption; as
            :func:`~sid_trainer.storage.path_errors.path_errors` when it cannot be read.
    """

    def __init__(self, file: BinaryIO, name: str, captioned: bool = True) -> None:
        with file, path_errors("read", name):
            groups = [list(group) for _, group in groupby(members(file, name), lambda m: m.key)]
            self._descriptor = os.dup(file.fileno())
        self._name, self._captioned = name, captioned
        try:
            found = [self._sample(group) for group in groups]
        except BaseException:
            self.close()
            raise
        self.samples = [sample for sample in found if sample is not None]
        self.without_image = len(found) - len(self.samples)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _sample(self, group: list[Member]) -> Sample | None:
        """The sample of members with one key, or None when no image is among them."""
        images = [member for member in group if member.suffix in IMAGE_SUFFIXES]
        if not images:
            return None
        image, name = images[0], f"{self._name}: {images[0].name}"
        if len(images) > 1:
            raise bad_data(
                name, f"has the same name as {images[1].name}", "give each image a name of its own"
            )
        caption = self._caption_of(group, name) if self._captioned else without_caption
        return Sample(name, partial(self._read, image), caption)

    def _caption_of(self, group: list[Member], name: str) -> Callable[[], str]:
        captions = {member.suffix: member for member in group if member.suffix in CAPTION_READERS}
        suffix = next((suffix for suffix in CAPTION_READERS if suffix in captions), None)
        if suffix is None:
            raise no_caption(name)
        return partial(self._caption, captions[suffix])

    def _caption(self, member: Member) -> str:
        return CAPTION_READERS[member.suffix](self._read(member), f"{self._name}: {member.name}")

    def _read(self, member: Member) -> bytes:
        with path_errors("read", self._name):
            return os.pread(self._descriptor, member.size, member.offset)


def members(file: BinaryIO, name: str) -> list[Member]:
    """The files in a tar, in order; hidden ones are left out.

    Raises:
        TrainerError: ``InvalidData`` when it is no whole tar.
    """
    found: list[Member] = []
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            found.extend(_member(info) for info in archive if info.isreg())
            whole = _ends(file, archive.offset)
    except tarfile.TarError:
        whole = False
    if not whole:
        where = f"at or after {found[-1].name}" if found else "at its beginning"
        raise bad_data(name, f"is cut short or damaged {where}", _REMEDY)
    return [member for member in found if not PurePosixPath(member.name).name.startswith(".")]


def _member(info: tarfile.TarInfo) -> Member:
    return Member(info.name, info.offset_data, info.size)


def _ends(file: BinaryIO, offset: int) -> bool:
    """Whether the mark of an archive's end, a block of zeros, is where the members end."""
    file.seek(offset)
    return file.read(_BLOCK) == bytes(_BLOCK)
