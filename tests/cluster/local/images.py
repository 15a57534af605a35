"""The operator's and the trainer's image, built from the tree into the running cluster.

Three images stand on each other, each named by the hash of what it is made of: a Debian base, the
dependencies (gigabytes for the trainer), and the code (seconds). So a tag tells exactly what is
in an image, equal trees share images, and a change rebuilds no more than it must.
"""

from __future__ import annotations

import shutil
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import apt, cache, cluster, containerd, layers
from .buildah import Buildah
from .console import step
from .errors import ClusterError
from .settings import IMAGE_REGISTRY, Paths
from .shell import run

DEBIAN_SUITE = "trixie"
DEBIAN_PACKAGES = ("ca-certificates", "python3", "python3-venv")
IMAGES = ("operator", "trainer")
CODE = ("operator/sid_operator", "trainer/sid_trainer")
FILES = (
    "README.md",
    "constraints.txt",
    "pyproject.toml",
    "images/requirements.py",
    *(f"images/{name}/Dockerfile" for name in IMAGES),
)
KEPT_IMAGES = 5
_LAST_STAGE = "FROM dependencies\n"


@dataclass(frozen=True)
class Recipe:
    """How one image of a checkout is built.

    Attributes:
        base: Reference of the Debian base.
        dependencies: Reference of the image with the dependencies.
        image: Reference of the image itself.
        stages: The Dockerfile's text for the dependencies and for the code.
    """

    base: str
    dependencies: str
    image: str
    stages: tuple[str, str]


def ensure(paths: Paths) -> dict[str, str]:
    """Have both images in the running cluster; their references by name."""
    with cluster.locked(paths), _snapshot(paths.checkout) as context:
        if not containerd.answers(paths):
            raise ClusterError("images are built into the running cluster: run `up` first")
        recipes = {name: recipe(context, name) for name in IMAGES}
        for name, wanted in recipes.items():
            if wanted.image not in containerd.images(paths):
                _build(paths, name, wanted, context)
        return {name: wanted.image for name, wanted in recipes.items()}


@contextmanager
def _snapshot(checkout: Path) -> Iterator[Path]:
    """A copy of what images are made of: an edit during a build must not make its tag a lie."""
    with tempfile.TemporaryDirectory(prefix="sid-images-") as directory:
        context = Path(directory)
        for name in FILES:
            (context / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(checkout / name, context / name)
        for name in CODE:
            leave_out = shutil.ignore_patterns("__pycache__")
            shutil.copytree(checkout / name, context / name, ignore=leave_out)
        yield context


def recipe(context: Path, name: str) -> Recipe:
    """The recipe of one image, with all references computed from the files in a directory."""
    stages = split_stages((context / "images" / name / "Dockerfile").read_text())
    base_key = cache.digest([DEBIAN_SUITE, *DEBIAN_PACKAGES])
    wanted = requirements((context / "pyproject.toml").read_text(), name)
    constraints = (context / "constraints.txt").read_text()
    dependencies_key = cache.digest([base_key, stages[0], *wanted, constraints])
    code_key = cache.digest([dependencies_key, stages[1]], _code_files(context), context)
    return Recipe(
        base=f"{IMAGE_REGISTRY}/base:{base_key}",
        dependencies=f"{IMAGE_REGISTRY}/sid-{name}-dependencies:{dependencies_key}",
        image=f"{IMAGE_REGISTRY}/sid-{name}:{code_key}",
        stages=stages,
    )


def split_stages(dockerfile: str) -> tuple[str, str]:
    """A Dockerfile's text up to its last stage, and that stage, which starts FROM dependencies."""
    before, found, after = dockerfile.partition(_LAST_STAGE)
    if not found:
        raise ClusterError(f"a Dockerfile of ours has a stage {_LAST_STAGE.strip()!r}")
    return before, after


def requirements(pyproject: str, extra: str) -> list[str]:
    """What the text of a pyproject.toml asks for, less what it says about other things."""
    content = tomllib.loads(pyproject)
    project = content["project"]
    optional = project["optional-dependencies"][extra]
    return [*content["build-system"]["requires"], *project["dependencies"], *optional]


def _code_files(context: Path) -> Iterator[Path]:
    yield context / "pyproject.toml"
    yield context / "README.md"
    for package in CODE:
        yield from (file for file in (context / package).rglob("*") if file.is_file())


def _build(paths: Paths, name: str, wanted: Recipe, context: Path) -> None:
    apt.install(apt.IMAGE_PACKAGES)
    buildah = Buildah.of(paths)
    if wanted.base not in buildah.images():
        with step(f"make the Debian base image ({DEBIAN_SUITE})"):
            _build_base(buildah, wanted.base, paths)
    if wanted.dependencies not in buildah.images():
        _drop_older(paths, buildah, name)
        with step(f"build the dependencies of {name} (minutes for the trainer, once)"):
            before, _ = wanted.stages
            buildah.build(before, base=wanted.base, reference=wanted.dependencies, context=context)
    with step(f"build {wanted.image}"):
        code = f"FROM {wanted.dependencies}\n{wanted.stages[1]}"
        buildah.build(code, base=wanted.base, reference=wanted.image, context=context)
    with step(f"hand {wanted.image} to the cluster"):
        layers.load(buildah.stored(wanted.image), paths)
        _drop_all_but_newest(paths, buildah, name)


def _build_base(buildah: Buildah, reference: str, paths: Paths) -> None:
    directory = Path(tempfile.mkdtemp(prefix=".base-", dir=paths.cache))
    try:
        packages = ",".join(DEBIAN_PACKAGES)
        run(
            [
                *("nice", "debootstrap", "--variant=minbase", f"--include={packages}"),
                *(DEBIAN_SUITE, directory),
            ]
        )
        run(["chroot", directory, "apt-get", "clean"])
        buildah.commit_directory(directory, reference)
    finally:
        shutil.rmtree(directory)


def _drop_older(paths: Paths, buildah: Buildah, name: str) -> None:
    """Remove all images of a name: they stand on older dependencies, which are gigabytes."""
    image = f"{IMAGE_REGISTRY}/sid-{name}"
    older = sorted(buildah.images())
    for reference in older:
        if reference.startswith(f"{image}:"):
            _drop(paths, buildah, reference)
    for reference in older:
        if reference.startswith(f"{image}-dependencies:"):
            buildah.remove(reference)


def _drop_all_but_newest(paths: Paths, buildah: Buildah, name: str) -> None:
    """Keep the last few images of a name, for other checkouts may run them."""
    image = f"{IMAGE_REGISTRY}/sid-{name}"
    for reference in buildah.images_newest_first(image)[KEPT_IMAGES:]:
        _drop(paths, buildah, reference)


def _drop(paths: Paths, buildah: Buildah, reference: str) -> None:
    containerd.remove_image(paths, reference)
    buildah.remove(reference)
