"""Built things are found again by their inputs, and a cut-short build is never found."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cluster.local import cache, golang


def test_digest_depends_on_every_part(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("one")
    digests = {
        cache.digest(["x"]),
        cache.digest(["x", ""]),
        cache.digest(["xy"]),
        cache.digest(["x", "y"]),
        cache.digest(["x"], [file], tmp_path),
        cache.digest(["x"], [file], tmp_path.parent),
    }
    assert len(digests) == 6


def test_digest_of_files_does_not_depend_on_where_they_are(tmp_path: Path) -> None:
    for clone in ("one", "two"):
        (tmp_path / clone).mkdir()
        (tmp_path / clone / "file").write_text("same")
    first, second = (
        cache.digest(files=[tmp_path / clone / "file"], root=tmp_path / clone)
        for clone in ("one", "two")
    )
    assert first == second


def test_entry_is_built_once(tmp_path: Path) -> None:
    built = []

    def build(target: Path) -> None:
        built.append(target)
        (target / "program").write_text("x")

    key = cache.digest(["1"])
    first = cache.entry(tmp_path, "thing", key, build)
    assert cache.entry(tmp_path, "thing", key, build) == first
    assert len(built) == 1
    assert (first / "program").read_text() == "x"


def test_two_who_want_an_entry_build_it_once(tmp_path: Path) -> None:
    built, begun, go_on = [], threading.Event(), threading.Event()

    def build(target: Path) -> None:
        built.append(target)
        begun.set()
        assert go_on.wait(30)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cache.entry, tmp_path, "thing", cache.digest(["1"]), build)
        assert begun.wait(30)
        second = pool.submit(cache.entry, tmp_path, "thing", cache.digest(["1"]), build)
        go_on.set()
        assert first.result(30) == second.result(30)
    assert len(built) == 1


def test_new_entry_replaces_older_ones_of_its_name(tmp_path: Path) -> None:
    old, other, new = (
        cache.entry(tmp_path, name, cache.digest([text]), lambda _: None)
        for name, text in (("thing", "1"), ("thing-other", "1"), ("thing", "2"))
    )
    assert not old.exists()
    assert other.exists()
    assert new.exists()


def test_failed_build_leaves_nothing(tmp_path: Path) -> None:
    def build(target: Path) -> None:
        (target / "half").write_text("x")
        raise ValueError("no space")

    with pytest.raises(ValueError, match="no space"):
        cache.entry(tmp_path, "thing", cache.digest(["1"]), build)
    assert [path.name for path in tmp_path.iterdir()] == [".thing.lock"]


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("go version go1.26.8 linux/amd64", (1, 26)),
        ("go version go1.30rc1 linux/arm64", (1, 30)),
        ("something else", (0, 0)),
    ],
)
def test_go_version(text: str, version: tuple[int, int]) -> None:
    assert golang.parse_version(text) == version


def test_go_modules_have_keys_of_their_own() -> None:
    assert golang.CLUSTER.key() != golang.MINIO.key()
