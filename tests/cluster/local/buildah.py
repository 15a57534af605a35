"""Building images without a Docker engine: buildah, with a storage of its own in the cache.

A build runs in a chroot on the machine's own network, so that it reaches the package registries
just as the machine does, with the certificate authorities that the machine trusts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .settings import Paths
from .shell import run

_CERTIFICATES = "/etc/ssl/certs"
_SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


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
            *("build", "--isolation", "chroot", "--network", "host", "--force-rm"),
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

    def push(self, reference: str, layout: Path) -> None:
        """Write an image into an OCI layout; layers that are there are not written again."""
        self._run("push", "--disable-compression", reference, f"oci:{layout}:{reference}")

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
