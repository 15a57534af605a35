"""Images of one static program, written as OCI archives without any tool.

An archive is a tar of blobs named by their hash: one layer, its configuration, a manifest, and an
index that names the image. Owners, modes and times are fixed, so equal inputs make equal bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_OCI = "application/vnd.oci.image"
MANIFEST = f"{_OCI}.manifest.v1+json"


@dataclass(frozen=True)
class ProgramImage:
    """An image that holds some files and runs one of them.

    Attributes:
        reference: The image's full name with a tag.
        files: Path inside the image to the file on this machine.
        entrypoint: The command.
        user: The numeric user and group that it runs as.
    """

    reference: str
    files: Mapping[str, Path]
    entrypoint: Sequence[str]
    user: str = "65532:65532"


def write_archive(image: ProgramImage, target: Path) -> None:
    """Write the image as a tar that `ctr images import` takes."""
    layer = _layer(image.files)
    config = _config(image, layer)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(f"{_OCI}.config.v1+json", config),
        "layers": [descriptor(f"{_OCI}.layer.v1.tar", layer)],
    }
    packed_manifest = to_bytes(manifest)
    index = named_index(packed_manifest, image.reference)
    with tarfile.open(target, "w") as archive:
        _add(archive, "oci-layout", to_bytes({"imageLayoutVersion": "1.0.0"}))
        _add(archive, "index.json", to_bytes(index))
        for blob in (packed_manifest, config, layer):
            _add(archive, f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}", blob)


def _layer(files: Mapping[str, Path]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as layer:
        for name, source in sorted(files.items()):
            _add(layer, name.lstrip("/"), source.read_bytes(), mode=0o755)
    return buffer.getvalue()


def _config(image: ProgramImage, layer: bytes) -> bytes:
    return to_bytes(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": list(image.entrypoint), "User": image.user},
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        }
    )


def named_index(manifest: bytes, reference: str) -> dict[str, object]:
    """The index of an archive with one image, with the name that containerd gives it."""
    named = descriptor(MANIFEST, manifest)
    named["annotations"] = {"io.containerd.image.name": reference}
    return {"schemaVersion": 2, "mediaType": f"{_OCI}.index.v1+json", "manifests": [named]}


def descriptor(media_type: str, blob: bytes) -> dict[str, object]:
    """How an image refers to a blob."""
    return {"mediaType": media_type, "digest": _digest(blob), "size": len(blob)}


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def to_bytes(content: object) -> bytes:
    """JSON that is the same bytes for the same content."""
    return json.dumps(content, sort_keys=True).encode()


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    member.mode = mode
    archive.addfile(member, io.BytesIO(content))
