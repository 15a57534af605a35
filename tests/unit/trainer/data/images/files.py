"""Pictures, and the shards and folders that hold them."""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from sid_trainer.data.images.census import examine
from sid_trainer.data.images.parts import ImagePart, OpenPart
from sid_trainer.data.images.places import find_parts

Files = dict[str, bytes]


@dataclass
class Unopened(ImagePart):
    """A part that may not be opened."""

    def open(self) -> OpenPart:
        raise AssertionError("opened")


def picture(side: int = 8, grey: int = 100, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (side, side), grey).save(buffer, kind)
    return buffer.getvalue()


def shard(path: Path, files: Files) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def folder(path: Path, files: Files) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def contents(uri: str) -> list[tuple[bytes, str]]:
    return [
        (sample.image(), sample.caption())
        for part in find_parts(uri)
        for sample in part.open().samples
    ]


def look_through(path: Path) -> None:
    for part in find_parts(str(path)):
        examine(part, 8)


def pair(path: Path) -> Path:
    """Members at 0, 1024, 2048 and 3072, the mark of the end at 4096."""
    image = picture()
    return shard(path, {"a.png": image, "a.txt": b"a", "b.png": image, "b.txt": b"b"})


IMAGE = picture()
