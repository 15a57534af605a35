"""Image sets in a real MinIO: shards, loose files, and what is left on the node's disk."""

from __future__ import annotations

import io
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.data.images.census import examine, take_census
from sid_trainer.data.images.count import Count
from sid_trainer.data.images.latents import PartReader
from sid_trainer.data.images.parts import opened
from sid_trainer.data.images.places import find_parts
from sid_trainer.process.group import SoloGroup


@pytest.fixture
def cache(minio: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """This node's cache; the environment has the server's credentials."""
    for name, value in minio.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SID_CACHE", str(tmp_path))
    return tmp_path


def picture(grey: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (8, 8), grey).save(buffer, "PNG")
    return buffer.getvalue()


def shard(number: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for image in range(3):
            for suffix, data in (("png", picture(image)), ("txt", f"{number} {image}".encode())):
                info = tarfile.TarInfo(f"{image}.{suffix}")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


@pytest.fixture
def shards(minio: Any, cache: Path, prefix: str) -> Any:
    storage = minio.storage(prefix)
    for number in range(3):
        storage.put_bytes(f"set/s-{number:02}.tar", shard(number))
    return storage


def downloads(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.rglob("*.tar"))


def test_shards_are_fetched_when_needed_and_released(minio: Any, shards: Any, cache: Path) -> None:
    parts = find_parts(shards.uri("set"), minio.endpoint)
    counts = take_census(parts, 8, SoloGroup(), shards)
    assert counts == [Count(3, (), 0)] * 3
    assert downloads(cache) == []
    reader = PartReader(parts, counts)
    assert [reader.sample(1, at).caption() for at in (2, 0)] == ["1 2", "1 0"]
    assert reader.sample(2, 1).image() == picture(1)
    assert downloads(cache) == ["s-01.tar", "s-02.tar"]
    reader.keep_only({2})
    assert downloads(cache) == ["s-02.tar"]
    assert shards.list("data/images-"), "what was found is kept for a later attempt"


def test_ranks_of_a_node_open_and_release_one_shard_as_they_like(
    minio: Any, shards: Any, cache: Path
) -> None:
    uri = shards.uri("set") + "/s-{00..00}.tar"

    def rank(number: int) -> list[str]:
        (part,) = find_parts(uri, minio.endpoint)
        seen = []
        for _ in range(20):
            with opened(part) as found:
                seen += [found.samples[number % 3].caption(), found.samples[0].caption()]
        return seen

    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(rank, range(8)))
    assert seen == [[f"0 {number % 3}", "0 0"] * 20 for number in range(8)]
    assert downloads(cache) == []


def test_a_pattern_names_shards(minio: Any, shards: Any, cache: Path) -> None:
    parts = find_parts(shards.uri("set") + "/s-{01..02}.tar", minio.endpoint)
    assert [part.name.rpartition("/")[2] for part in parts] == ["s-01.tar", "s-02.tar"]
    with pytest.raises(TrainerError, match=r"/s-03\.tar does not exist: upload it") as caught:
        find_parts(shards.uri("set") + "/s-{01..03}.tar", minio.endpoint)
    assert caught.value.reason is FailureReason.NOT_FOUND


def test_a_folder_of_images(minio: Any, cache: Path, prefix: str) -> None:
    storage = minio.storage(prefix)
    for number in range(3):
        storage.put_bytes(f"x/{number}.png", picture(number))
        storage.put_bytes(f"x/{number}.txt", f"grey {number}".encode())
    (part,) = find_parts(storage.uri("x"), minio.endpoint)
    assert examine(part, 8) == Count(3, (), 0)
    found = [(sample.image(), sample.caption()) for sample in part.open().samples]
    assert found == [(picture(number), f"grey {number}") for number in range(3)]


def test_a_shard_cut_short_is_told_by_its_address(minio: Any, cache: Path, prefix: str) -> None:
    storage = minio.storage(prefix)
    storage.put_bytes("set/0.tar", shard(0)[:2000])
    parts = find_parts(storage.uri("set"), minio.endpoint)
    with pytest.raises(TrainerError, match=rf"^{parts[0].name} is cut short or damaged") as caught:
        take_census(parts, 8, SoloGroup(), storage)
    assert caught.value.reason is FailureReason.INVALID_DATA
    assert downloads(cache) == []


def test_what_is_not_there(minio: Any, cache: Path, prefix: str) -> None:
    with pytest.raises(TrainerError, match="does not exist: give WebDataset shards") as caught:
        find_parts(minio.storage(prefix).uri("set"), minio.endpoint)
    assert caught.value.reason is FailureReason.NOT_FOUND
    with pytest.raises(TrainerError, match="bucket s3://nowhere") as caught:
        find_parts("s3://nowhere/set", minio.endpoint)
    assert caught.value.reason is FailureReason.NOT_FOUND
