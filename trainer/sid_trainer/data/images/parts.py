"""The parts of a data set: shards, or stretches of a folder of images.

A part is what is fetched, looked through and put in order at a time. Opening one gives its
samples; a shard in S3 is then on this node's disk, one download for all ranks of the node, until it
is released.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Protocol

from sid_trainer.config.endpoint import Server
from sid_trainer.data.images.sample import CAPTION_READERS, Sample
from sid_trainer.data.images.tar import TarShard
from sid_trainer.models.fetching import open_file
from sid_trainer.models.node_cache import remove
from sid_trainer.storage import Storage
from sid_trainer.storage.path_errors import open_path


class OpenPart(Protocol):
    """The samples of a part, readable from several threads until it is closed."""

    samples: list[Sample]
    without_image: int

    def close(self) -> None:
        """Give back what reading needs."""


@dataclass
class ImagePart(abc.ABC):
    """A piece of a data set.

    Attributes:
        name: address, for messages.
        version: changes whenever its content does.
    """

    name: str
    version: str

    @abc.abstractmethod
    def open(self) -> OpenPart:
        """Bring it to this node and read its table.

        Raises:
            TrainerError: ``InvalidData``, or that it cannot be fetched.
        """

    def release(self) -> None:  # noqa: B027 - most leave nothing
        """Remove what opening left on this node's disk, if anything."""


@contextmanager
def opened(part: ImagePart) -> Iterator[OpenPart]:
    """A part, open within a block; nothing of it is left on this node's disk.

    Raises:
        TrainerError: as :meth:`ImagePart.open`.
    """
    try:
        found = part.open()
        try:
            yield found
        finally:
            found.close()
    finally:
        part.release()


@dataclass
class LocalShard(ImagePart):
    """A tar on a mounted volume; it is read in place."""

    captioned: bool = True

    def open(self) -> OpenPart:
        """Read its table."""
        return TarShard(open_path(Path(self.name), self.name), self.name, self.captioned)


@dataclass
class StoredShard(ImagePart):
    """A tar in S3."""

    endpoint: Server
    captioned: bool = True
    _fetched: Path | None = None

    def open(self) -> OpenPart:
        """Download it, unless another rank of this node has, and read its table."""
        file = open_file(self.name, self.endpoint)
        self._fetched = Path(file.name)
        return TarShard(file, self.name, self.captioned)

    def release(self) -> None:
        """Remove the download; another rank of this node may have done so."""
        if self._fetched is not None:
            remove(self._fetched.parent)
            self._fetched = None


@dataclass(frozen=True)
class Entry:
    """An image of a folder: its key, and its caption or the key of the file that holds it."""

    image: str
    caption: str = ""
    caption_file: str | None = None


@dataclass
class FolderPart(ImagePart):
    """Some images of a folder; each file is read when it is needed."""

    storage: Storage
    entries: Sequence[Entry]

    def open(self) -> OpenPart:
        """Name its samples; nothing is read."""
        return _OpenFolder([self._sample(entry) for entry in self.entries])

    def _sample(self, entry: Entry) -> Sample:
        return Sample(
            self.storage.uri(entry.image),
            partial(self.storage.get_bytes, entry.image),
            partial(self._caption, entry),
        )

    def _caption(self, entry: Entry) -> str:
        key = entry.caption_file
        if key is None:
            return entry.caption
        read = CAPTION_READERS[suffix_of(key)]
        return read(self.storage.get_bytes(key), self.storage.uri(key))


@dataclass
class _OpenFolder:
    samples: list[Sample]
    without_image: int = 0

    def close(self) -> None:
        """Nothing is open."""


def suffix_of(key: str) -> str:
    """What follows the last dot of a file's name, in lower case."""
    return PurePosixPath(key).suffix[1:].lower()


def is_hidden(key: str) -> bool:
    """Whether a file is a hidden one, such as those that some systems leave in folders."""
    return PurePosixPath(key).name.startswith(".")
