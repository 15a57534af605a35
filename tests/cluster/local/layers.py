"""From buildah's storage into containerd, each layer once and uncompressed.

buildah can write an image only as a whole and gzipped, which takes minutes for the trainer's
gigabytes, and as long again after a change of one line. So layers are packed here, straight from
the directories that they are in the storage; what containerd has already is neither packed nor
sent again. A packed layer's hash is remembered by the hash that buildah gave the layer.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from .buildah import StoredImage, StoredLayer
from .errors import ClusterError
from .oci import MANIFEST, descriptor, named_index, to_bytes
from .settings import CONTAINERD_NAMESPACE, Paths
from .shell import tail

_LAYER = "application/vnd.oci.image.layer.v1.tar"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"


@dataclass(frozen=True)
class Blob:
    """A layer as an image names it."""

    digest: str
    size: int

    @property
    def path(self) -> str:
        """Where an OCI archive and containerd's content store keep it."""
        return f"blobs/{self.digest.replace(':', '/')}"


def load(image: StoredImage, paths: Paths) -> None:
    """Import an image under its reference."""
    directory = paths.cache / "layers"
    directory.mkdir(exist_ok=True)
    packed = [_packed(layer, directory, paths) for layer in image.layers]
    missing = [blob for blob in packed if not _stored(blob, paths)]
    try:
        _import(image, packed, {blob: _tar(directory, blob) for blob in missing}, paths)
    finally:
        for blob in missing:
            _tar(directory, blob).unlink()


def _packed(layer: StoredLayer, directory: Path, paths: Paths) -> Blob:
    """The layer's blob; its tar is written where containerd lacks it."""
    note = directory / f"{layer.digest.partition(':')[2]}.json"
    if note.exists():
        known = Blob(**json.loads(note.read_text()))
        if _stored(known, paths):
            return known
    unnamed = directory / "layer.tar"
    pack(layer.directory, unnamed)
    with unnamed.open("rb") as content:
        digest = f"sha256:{hashlib.file_digest(content, 'sha256').hexdigest()}"
    blob = Blob(digest=digest, size=unnamed.stat().st_size)
    unnamed.rename(_tar(directory, blob))
    note.write_text(json.dumps(asdict(blob)))
    return blob


def _tar(directory: Path, blob: Blob) -> Path:
    return directory / f"{blob.digest.partition(':')[2]}.tar"


def _stored(blob: Blob, paths: Paths) -> bool:
    return (paths.containerd_root / "io.containerd.content.v1.content" / blob.path).exists()


def pack(directory: Path, target: Path) -> None:
    """Write a directory of an overlay file system as an image's layer.

    What the overlay says with a device 0:0 (deleted) and an attribute (nothing below shows
    through), a layer says with files of agreed names.
    """
    with tarfile.open(target, "w") as archive:
        for path in _walk(directory):
            name = str(path.relative_to(directory))
            status = path.lstat()
            if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
                archive.addfile(tarfile.TarInfo(_sibling(name, f"{_WHITEOUT}{path.name}")))
                continue
            _add(archive, path, name)
            if stat.S_ISDIR(status.st_mode) and _is_opaque(path):
                archive.addfile(tarfile.TarInfo(f"{name}/{_OPAQUE}"))


def _walk(directory: Path) -> Iterator[Path]:
    for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
        yield Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path))


def _add(archive: tarfile.TarFile, path: Path, name: str) -> None:
    member = archive.gettarinfo(path, name)
    member.uname = member.gname = ""
    if member.isreg():
        with path.open("rb") as content:
            archive.addfile(member, content)
    else:
        archive.addfile(member)


def _sibling(name: str, other: str) -> str:
    return str(Path(name).with_name(other))


def _is_opaque(path: Path) -> bool:
    attribute = "trusted.overlay.opaque"
    return attribute in os.listxattr(path) and os.getxattr(path, attribute) == b"y"


def _import(image: StoredImage, layers: list[Blob], files: dict[Blob, Path], paths: Paths) -> None:
    command = [
        *("ctr", "--address", str(paths.containerd_socket)),
        *("--namespace", CONTAINERD_NAMESPACE, "images", "import", "-"),
    ]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as importer:
        if importer.stdin is None or importer.stdout is None:
            raise AssertionError("pipes were asked for")
        with importer.stdin as sink:
            _write_archive(sink, image, layers, files)
        said = importer.stdout.read().decode()
    if importer.returncode != 0:
        raise ClusterError(f"import of {image.reference} failed:\n{tail(said)}")


def _write_archive(
    sink: IO[bytes], image: StoredImage, layers: list[Blob], files: dict[Blob, Path]
) -> None:
    digests = [blob.digest for blob in layers]
    config = to_bytes({**image.config, "rootfs": {"type": "layers", "diff_ids": digests}})
    manifest = to_bytes(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(_CONFIG, config),
            "layers": [{"mediaType": _LAYER, **asdict(blob)} for blob in layers],
        }
    )
    with tarfile.open(fileobj=sink, mode="w|") as archive:
        _add_bytes(archive, "oci-layout", to_bytes({"imageLayoutVersion": "1.0.0"}))
        _add_bytes(archive, "index.json", to_bytes(named_index(manifest, image.reference)))
        for content in (manifest, config):
            _add_bytes(archive, f"blobs/sha256/{hashlib.sha256(content).hexdigest()}", content)
        for blob, file in files.items():
            member = tarfile.TarInfo(blob.path)
            member.size = blob.size
            with file.open("rb") as layer:
                archive.addfile(member, layer)


def _add_bytes(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))
