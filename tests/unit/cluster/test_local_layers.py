"""A layer says of deleted and replaced files what the overlay file system says of them."""

from __future__ import annotations

import os
import stat
import tarfile
from pathlib import Path

import pytest

from tests.cluster.local import layers

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="makes device files")


def packed(directory: Path, target: Path) -> dict[str, tarfile.TarInfo]:
    layers.pack(directory, target)
    with tarfile.open(target) as archive:
        return {member.name: member for member in archive}


def test_kinds_and_modes_of_files_stay(tmp_path: Path) -> None:
    root = tmp_path / "diff"
    (root / "bin").mkdir(parents=True)
    (root / "bin/program").write_text("x")
    (root / "bin/program").chmod(0o755)
    (root / "bin/second").hardlink_to(root / "bin/program")
    (root / "link").symlink_to("bin")
    members = packed(root, tmp_path / "layer.tar")
    assert sorted(members) == ["bin", "bin/program", "bin/second", "link"]
    assert members["bin/program"].mode == 0o755
    assert members["bin/second"].islnk()
    assert members["link"].linkname == "bin"


@needs_root
def test_deleted_file_becomes_a_whiteout(tmp_path: Path) -> None:
    root = tmp_path / "diff"
    (root / "etc").mkdir(parents=True)
    os.mknod(root / "etc/gone", stat.S_IFCHR, os.makedev(0, 0))
    assert sorted(packed(root, tmp_path / "layer.tar")) == ["etc", "etc/.wh.gone"]


@needs_root
def test_replaced_directory_hides_what_is_below(tmp_path: Path) -> None:
    root = tmp_path / "diff"
    (root / "new").mkdir(parents=True)
    os.setxattr(root / "new", "trusted.overlay.opaque", b"y")
    assert sorted(packed(root, tmp_path / "layer.tar")) == ["new", "new/.wh..wh..opq"]
