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
        "mediaType": f"{_OCI}.manifest.v1+json",
        "config": _descriptor(f"{_OCI}.config.v1+json", config),
        "layers": [_descriptor(f"{_OCI}.layer.v1.tar", layer)],
    }
    packed_manifest = _json(manifest)
    named = _descriptor(f"{_OCI}.manifest.v1+json", packed_manifest)
    named["annotations"] = {"io.containerd.image.name": image.reference}
    index = {"schemaVersion": 2, "mediaType": f"{_OCI}.index.v1+json", "manifests": [named]}
    with tarfile.open(target, "w") as archive:
        _add(archive, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _add(archive, "index.json", _json(index))
        for blob in (packed_manifest, config, layer):
            _add(archive, f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}", blob)


def _layer(files: Mapping[str, Path]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as layer:
        for name, source in sorted(files.items()):
            _add(layer, name.lstrip("/"), source.read_bytes(), mode=0o755)
    return buffer.getvalue()


def _config(image: ProgramImage, layer: bytes) -> bytes:
    return _json(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": list(image.entrypoint), "User": image.user},
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        }
    )


def _descriptor(media_type: str, blob: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": _digest(blob), "size": len(blob)}


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _json(content: object) -> bytes:
    return json.dumps(content, sort_keys=True).encode()


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    member.mode = mode
    archive.addfile(member, io.BytesIO(content))
