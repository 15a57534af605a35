"""The cluster's MinIO from outside the cluster: upload, download and remove folders.

Rules this module keeps: credentials come from the Secret that the local cluster leaves
(``minio/minio-credentials``) and are neither printed nor written anywhere.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from minio import Minio
from minio.deleteobjects import DeleteObject

from tests.cluster import kubectl

NAMESPACE = "minio"
SECRET = "minio-credentials"
BUCKET = "sid"


@dataclass(frozen=True)
class Objects:
    """Objects of one bucket."""

    client: Minio
    bucket: str = BUCKET

    def upload_file(self, path: Path, key: str) -> None:
        """Upload one file."""
        self.client.fput_object(self.bucket, key, str(path))

    def upload_folder(self, folder: Path, prefix: str) -> int:
        """Upload every file of ``folder`` below ``prefix``; returns how many."""
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        for path in files:
            self.upload_file(path, f"{prefix}/{path.relative_to(folder).as_posix()}")
        return len(files)

    def names(self, prefix: str) -> list[str]:
        """Keys below ``prefix``, sorted."""
        found = self.client.list_objects(self.bucket, prefix=f"{prefix}/", recursive=True)
        return sorted(str(entry.object_name) for entry in found)

    def download_folder(self, prefix: str, folder: Path) -> list[Path]:
        """Download everything below ``prefix`` into ``folder``; returns the files."""
        paths = []
        for name in self.names(prefix):
            path = folder / name.removeprefix(f"{prefix}/")
            self.client.fget_object(self.bucket, name, str(path))
            paths.append(path)
        return paths

    def remove_folder(self, prefix: str) -> int:
        """Remove everything below ``prefix``; returns how many objects."""
        names = self.names(prefix)
        errors = list(self.client.remove_objects(self.bucket, [DeleteObject(n) for n in names]))
        if errors:
            raise RuntimeError(
                f"could not remove {len(errors)} objects below {prefix}: {errors[0]}"
            )
        return len(names)


def credentials() -> dict[str, str]:
    """Access key and secret key of the cluster's MinIO, as the Secret's data says."""
    data = kubectl.get("secret", SECRET, "-n", NAMESPACE)["data"]
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


@contextlib.contextmanager
def connect() -> Iterator[Objects]:
    """The bucket ``sid`` of the cluster's MinIO, over a forwarded port."""
    keys = credentials()
    with kubectl.port_forward(NAMESPACE, "service/minio", 9000) as address:
        yield Objects(Minio(address, keys["accessKey"], keys["secretKey"], secure=False))


def copy_credentials(namespace: str) -> None:
    """Put the MinIO credentials into ``namespace``, where training pods can use them."""
    kubectl.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": SECRET, "namespace": namespace},
            "stringData": credentials(),
        },
    )
