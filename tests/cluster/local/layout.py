"""From an OCI layout on disk into containerd, each layer once.

A layer of gigabytes is neither imported again when only a small layer above it changed, nor kept
twice: the archive that containerd reads is a stream with the blobs that it lacks, and afterwards
the layout's file becomes a second name (a hard link) of containerd's.
"""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from pathlib import Path
from typing import IO, Any

from .errors import ClusterError
from .settings import CONTAINERD_NAMESPACE, Paths
from .shell import tail


class Layout:
    """An OCI layout that holds one or more images."""

    def __init__(self, directory: Path, paths: Paths) -> None:
        self._directory = directory
        self._paths = paths

    def load(self, reference: str) -> None:
        """Import one image under its reference."""
        manifest = self._manifest(reference)
        self._stream(manifest, reference)
        for digest in self._contents(manifest):
            self._share(digest)

    def forget(self, reference: str) -> None:
        """Drop an image from the index, and the blobs that no other image needs."""
        index = self._index()
        index["manifests"] = [entry for entry in index["manifests"] if _name(entry) != reference]
        (self._directory / "index.json").write_text(json.dumps(index))
        needed = {digest for entry in index["manifests"] for digest in self._contents(entry)}
        for blob in (self._directory / "blobs/sha256").iterdir():
            if f"sha256:{blob.name}" not in needed:
                blob.unlink()

    def _index(self) -> dict[str, Any]:
        index: dict[str, Any] = json.loads((self._directory / "index.json").read_text())
        return index

    def _manifest(self, reference: str) -> dict[str, Any]:
        for entry in self._index()["manifests"]:
            if _name(entry) == reference:
                return dict(entry)
        raise ClusterError(f"{self._directory} holds no image {reference}")

    def _contents(self, entry: dict[str, Any]) -> list[str]:
        """The digests of a manifest, its configuration and its layers."""
        manifest = json.loads(self._blob(entry["digest"]).read_text())
        parts = [manifest["config"], *manifest["layers"]]
        return [entry["digest"], *(part["digest"] for part in parts)]

    def _stream(self, entry: dict[str, Any], reference: str) -> None:
        command = [
            *("ctr", "--address", str(self._paths.containerd_socket)),
            *("--namespace", CONTAINERD_NAMESPACE, "images", "import", "-"),
        ]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as importer:
            if importer.stdin is None or importer.stdout is None:
                raise AssertionError("pipes were asked for")
            with importer.stdin as sink:
                self._write_archive(sink, entry, reference)
            said = importer.stdout.read().decode()
        if importer.returncode != 0:
            raise ClusterError(f"import of {reference} failed:\n{tail(said)}")

    def _write_archive(self, sink: IO[bytes], entry: dict[str, Any], reference: str) -> None:
        named = {**entry, "annotations": {"io.containerd.image.name": reference}}
        index = {"schemaVersion": 2, "manifests": [named]}
        with tarfile.open(fileobj=sink, mode="w|") as archive:
            _add_bytes(archive, "oci-layout", {"imageLayoutVersion": "1.0.0"})
            _add_bytes(archive, "index.json", index)
            for digest in self._contents(entry):
                if not self._stored(digest).exists():
                    _add_file(archive, self._blob(digest))

    def _share(self, digest: str) -> None:
        mine, theirs = self._blob(digest), self._stored(digest)
        if not mine.samefile(theirs):
            mine.unlink()
            mine.hardlink_to(theirs)

    def _blob(self, digest: str) -> Path:
        return self._directory / "blobs" / digest.replace(":", "/")

    def _stored(self, digest: str) -> Path:
        store = self._paths.containerd_root / "io.containerd.content.v1.content"
        return store / "blobs" / digest.replace(":", "/")


def _name(entry: dict[str, Any]) -> str | None:
    name: str | None = entry.get("annotations", {}).get("org.opencontainers.image.ref.name")
    return name


def _add_bytes(archive: tarfile.TarFile, name: str, content: object) -> None:
    packed = json.dumps(content).encode()
    member = tarfile.TarInfo(name)
    member.size = len(packed)
    archive.addfile(member, io.BytesIO(packed))


def _add_file(archive: tarfile.TarFile, file: Path) -> None:
    member = tarfile.TarInfo(f"blobs/sha256/{file.name}")
    member.size = file.stat().st_size
    with file.open("rb") as content:
        archive.addfile(member, content)
