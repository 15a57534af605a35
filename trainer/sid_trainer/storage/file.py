"""Storage in a local folder: the embedded default, without any server.

Rules this module keeps:

* An object is written beside its place and renamed, so that a reader never sees half of one and a
  killed writer leaves only a ``.part-*`` file, which no listing shows.
* Emptied folders are removed: the tree shows what an object store would show.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from sid_trainer.storage.base import (
    MAX_SMALL_OBJECT,
    BegunUpload,
    ObjectInfo,
    safe_key,
    safe_prefix,
    too_large,
)
from sid_trainer.storage.path_errors import open_path, path_errors

PART_PREFIX = ".part-"


class FileStorage:
    """Objects as files under ``root``, which is created on the first write."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()

    def uri(self, key: str = "") -> str:
        """``file:///folder/key``."""
        return self._path(key).as_uri() if key else self._root.as_uri()

    def put_bytes(
        self, key: str, data: bytes, content_type: str = "application/octet-stream"
    ) -> None:
        """Write an object; files have no content type."""
        del content_type
        with self._replacing(key) as file:
            file.write(data)

    def put_if(self, key: str, data: bytes, etag: str | None, content_type: str) -> bool:
        """Write an object if the one there has this etag, or, for None, if there is none."""
        del content_type
        path = self._path(key)
        with path_errors("write", str(path)):
            if etag is None:
                return _created(path, data)
            if not path.is_file() or self._info(path).etag != etag:
                return False
        self.put_bytes(key, data)
        return True

    def put_stream(self, key: str, open_stream: Callable[[], BinaryIO], size: int) -> None:
        """Write ``size`` bytes of a stream."""
        with self._replacing(key) as file, open_stream() as source:
            shutil.copyfileobj(source, file, 2**20)
            if file.tell() != size:
                raise OSError(errno.EIO, f"stream ended after {file.tell()} of {size} bytes")

    def put_buffers(self, key: str, buffers: Sequence[memoryview]) -> None:
        """Write buffers one after the other."""
        with self._replacing(key) as file:
            file.writelines(buffers)

    def put_file(self, key: str, path: Path) -> None:
        """Copy a file in."""
        self.put_stream(key, lambda: path.open("rb"), path.stat().st_size)

    def get_bytes(self, key: str, max_bytes: int = MAX_SMALL_OBJECT) -> bytes:
        """Read a small object."""
        with self._reading(key) as file:
            data = file.read(max_bytes + 1)
        if len(data) > max_bytes:
            raise too_large(self.uri(key), max_bytes)
        return data

    def get_range(self, key: str, start: int, buffer: memoryview) -> int:
        """Read from byte ``start`` on into ``buffer``; return how much there was."""
        with self._reading(key) as file:
            file.seek(start)
            return _fill(file, buffer)

    def get_file(self, key: str, path: Path) -> None:
        """Copy an object out."""
        with self._reading(key) as source, replacing(path) as file:
            shutil.copyfileobj(source, file, 2**20)

    def exists(self, key: str) -> bool:
        """Whether the file is there."""
        return self._path(key).is_file()

    def list(self, prefix: str = "") -> list[ObjectInfo]:
        """All objects whose key starts with ``prefix``."""
        folder = self._root / safe_prefix(prefix).rpartition("/")[0]
        with path_errors("list", str(folder)):
            found = [
                self._info(path)
                for path in folder.rglob("*")
                if path.is_file() and not path.name.startswith(PART_PREFIX)
            ]
        return sorted((o for o in found if o.key.startswith(prefix)), key=lambda o: o.key)

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects and the folders that this empties."""
        for key in keys:
            path = self._path(key)
            with path_errors("delete", str(path)):
                path.unlink(missing_ok=True)
                self._remove_empty(path.parent)

    def begun_uploads(self, keys: Iterable[str] = ()) -> Sequence[BegunUpload]:
        """Files that a writer has not renamed yet; each key is that of the file itself."""
        del keys
        with path_errors("list", str(self._root)):
            found = [path.relative_to(self._root) for path in self._root.rglob(f"{PART_PREFIX}*")]
        return [BegunUpload(path.as_posix(), path.name) for path in sorted(found)]

    def give_up(self, uploads: Iterable[BegunUpload]) -> None:
        """Remove such files."""
        self.delete(upload.key for upload in uploads)

    def _info(self, path: Path) -> ObjectInfo:
        stat = path.stat()
        key = path.relative_to(self._root).as_posix()
        return ObjectInfo(key, stat.st_size, f"{stat.st_mtime_ns:x}-{stat.st_size:x}")

    def _remove_empty(self, folder: Path) -> None:
        while folder != self._root and folder.is_relative_to(self._root):
            try:
                folder.rmdir()
            except FileNotFoundError:
                pass  # another process removed it first; its parent may still be empty
            except OSError:
                return  # not empty
            folder = folder.parent

    def _path(self, key: str) -> Path:
        return self._root / safe_key(key)

    @contextlib.contextmanager
    def _reading(self, key: str) -> Iterator[BufferedReader]:
        path = self._path(key)
        with path_errors("read", str(path)), open_path(path, self.uri(key)) as file:
            yield file

    @contextlib.contextmanager
    def _replacing(self, key: str) -> Iterator[BinaryIO]:
        path = self._path(key)
        with path_errors("write", str(path)), replacing(path) as file:
            yield file


def _fill(file: BufferedReader, buffer: memoryview) -> int:
    """Read until the buffer is full or the file ends; return how much that was."""
    filled = 0
    while filled < len(buffer) and (count := file.readinto(buffer[filled:])):
        filled += count
    return filled


def _created(path: Path, data: bytes) -> bool:
    """Write a file where none is; whether it was written. It is whole as soon as it is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(prefix=PART_PREFIX, dir=path.parent) as part:
        part.write(data)
        part.flush()
        os.fsync(part.fileno())
        os.fchmod(part.fileno(), 0o644)
        try:
            os.link(part.name, path)
        except FileExistsError:
            return False
    return True


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a new file that takes the place of ``path`` when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=PART_PREFIX, dir=path.parent)
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.chmod(0o644)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
