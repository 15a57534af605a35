"""An image's tag changes with what is in it, and with nothing else."""

from __future__ import annotations

import hashlib
import json
import runpy
import shutil
import tarfile
from pathlib import Path

import pytest

from tests.cluster.local import images, oci
from tests.cluster.local.errors import ClusterError
from tests.cluster.local.settings import CHECKOUT


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in images.FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CHECKOUT / name, tmp_path / name)
    for name in images.CODE:
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "__init__.py").write_text("")
    return tmp_path


def append(file: Path, text: str) -> None:
    file.write_text(file.read_text() + text)


@pytest.mark.parametrize("name", images.IMAGES)
def test_code_change_keeps_the_dependencies(checkout: Path, name: str) -> None:
    before = images.recipe(checkout, name)
    append(checkout / images.CODE[1] / "__init__.py", "x = 1\n")
    after = images.recipe(checkout, name)
    assert after.image != before.image
    assert after.dependencies == before.dependencies


@pytest.mark.parametrize("name", images.IMAGES)
def test_tool_settings_keep_the_dependencies(checkout: Path, name: str) -> None:
    before = images.recipe(checkout, name)
    append(checkout / "pyproject.toml", "\n[tool.something]\nx = 1\n")
    assert images.recipe(checkout, name).dependencies == before.dependencies


@pytest.mark.parametrize("name", images.IMAGES)
def test_another_pin_changes_the_dependencies(checkout: Path, name: str) -> None:
    before = images.recipe(checkout, name)
    append(checkout / "constraints.txt", "x==1\n")
    after = images.recipe(checkout, name)
    assert after.dependencies != before.dependencies
    assert after.image != before.image
    assert after.base == before.base


def test_dockerfile_without_the_last_stage_is_told() -> None:
    with pytest.raises(ClusterError, match="dependencies"):
        images.split_stages("FROM debian\n")


def test_the_image_installs_what_its_key_is_made_of() -> None:
    script = runpy.run_path(str(CHECKOUT / "images/requirements.py"))["requirements"]
    pyproject = (CHECKOUT / "pyproject.toml").read_text()
    for name in images.IMAGES:
        assert script(pyproject, name) == images.requirements(pyproject, name)


def test_the_operator_needs_no_torch() -> None:
    wanted = images.requirements((CHECKOUT / "pyproject.toml").read_text(), "operator")
    assert not [line for line in wanted if line.startswith(("torch", "deepspeed"))]


def test_program_image_is_an_oci_archive_that_names_itself(tmp_path: Path) -> None:
    program, archive = tmp_path / "program", tmp_path / "image.tar"
    program.write_bytes(b"\x7fELF")
    image = oci.ProgramImage(reference="a/b:c", files={"/p": program}, entrypoint=("/p",))
    oci.write_archive(image, archive)
    with tarfile.open(archive) as content:
        blobs = {
            member.name: file.read()
            for member in content
            if (file := content.extractfile(member)) is not None
        }
    (entry,) = json.loads(blobs["index.json"])["manifests"]
    assert entry["annotations"]["io.containerd.image.name"] == "a/b:c"
    for name, blob in blobs.items():
        if name.startswith("blobs/"):
            assert name.endswith(hashlib.sha256(blob).hexdigest())
    first = archive.read_bytes()
    oci.write_archive(image, archive)
    assert archive.read_bytes() == first
