"""Building images without a Docker engine: buildah, with a storage of its own in the cache.

A build runs in a chroot on the machine's own network, so that it reaches the package registries
just as the machine does, with the certificate authorities that the machine trusts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .settings import Paths
from .shell import run

_CERTIFICATES = "/etc/ssl/certs"
_SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class StoredLayer:
    """A layer in the storage: buildah's hash of it, and the directory that it is."""

    digest: str
    directory: Path


@dataclass(frozen=True)
class StoredImage:
    """An image in the storage, its layers from the lowest to the highest."""

    reference: str
    config: Mapping[str, Any]
    layers: tuple[StoredLayer, ...]


@dataclass(frozen=True)
class Buildah:
    """buildah on one storage."""

    storage: Path
    run_root: Path

    @classmethod
    def of(cls, paths: Paths) -> Buildah:
        """The buildah that all checkouts share."""
        return cls(storage=paths.cache / "buildah", run_root=Path("/run/sid-operator-buildah"))

    def images(self) -> set[str]:
        """The references of all images in the storage."""
        return set(self._run("images", "--format", "{{.Name}}:{{.Tag}}").split())

    def images_newest_first(self, repository: str) -> list[str]:
        """The references of one repository's images; buildah lists them by age."""
        listed = self._run("images", "--format", "{{.Name}}:{{.Tag}}").split()
        return [reference for reference in listed if reference.startswith(f"{repository}:")]

    def build(self, dockerfile: str, *, base: str, reference: str, context: Path) -> None:
        """Build the text of a Dockerfile, which may take its base as BASE_IMAGE."""
        self._run(
            *("build", "--isolation", "chroot", "--network", "host", "--no-cache", "--force-rm"),
            *("--volume", f"{_CERTIFICATES}:{_CERTIFICATES}:ro"),
            *("--build-arg", f"BASE_IMAGE={base}", "--tag", reference),
            *("--file", "-", str(context)),
            text=dockerfile,
        )

    def commit_directory(self, directory: Path, reference: str) -> None:
        """Make an image of a root file system."""
        container = self._run("from", "scratch").strip()
        self._run("add", "--quiet", container, str(directory), "/")
        self._run("config", "--env", f"PATH={_SEARCH_PATH}", container)
        self._run("commit", "--quiet", "--rm", container, reference)

    def stored(self, reference: str) -> StoredImage:
        """An image's configuration and the directories of its layers."""
        inspected = json.loads(self._run("inspect", "--type", "image", reference))
        images = json.loads((self.storage / "overlay-images/images.json").read_text())
        (top,) = [each["layer"] for each in images if reference in (each.get("names") or [])]
        return StoredImage(reference, inspected["OCIv1"], tuple(self._layers(top)))

    def _layers(self, top: str) -> list[StoredLayer]:
        """The layers below and with one of them, the lowest first."""
        known = json.loads((self.storage / "overlay-layers/layers.json").read_text())
        by_id = {layer["id"]: layer for layer in known}
        found: list[StoredLayer] = []
        identity: str | None = top
        while identity:
            layer = by_id[identity]
            directory = self.storage / "overlay" / identity / "diff"
            found.insert(0, StoredLayer(layer["diff-digest"], directory))
            identity = layer.get("parent")
        return found

    def remove(self, reference: str) -> None:
        """Forget an image, and the layers that no other has."""
        self._run("rmi", reference)

    def _run(self, *arguments: str, text: str | None = None) -> str:
        places = [
            f"--root={self.storage}",
            f"--runroot={self.run_root}",
            "--storage-driver=overlay",
        ]
        return run(["nice", "buildah", *places, *arguments], text=text)
