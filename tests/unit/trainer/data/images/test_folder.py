"""Data sets on a path: what is found, what is read, and what is said of bad ones."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from sid_trainer.contract import EXIT_CODE_OF, PERMANENT_EXIT_CODES, FailureReason, TrainerError
from sid_trainer.data.images.census import examine, take_census
from sid_trainer.data.images.consistency import (
    META,
    fingerprint,
    require_same_parts,
    tell_other_images,
)
from sid_trainer.data.images.count import Count
from sid_trainer.data.images.folder import PART_IMAGES
from sid_trainer.data.images.parts import OpenPart, Part
from sid_trainer.data.images.places import expanded, find_parts
from sid_trainer.process.failures import failure_of
from sid_trainer.process.group import SoloGroup
from sid_trainer.storage import FileStorage

Files = dict[str, bytes]


@dataclass
class Unopened(Part):
    """A part that may not be opened."""

    def open(self) -> OpenPart:
        raise AssertionError("opened")


def picture(side: int = 8, grey: int = 100, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (side, side), grey).save(buffer, kind)
    return buffer.getvalue()


def shard(path: Path, files: Files) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def folder(path: Path, files: Files) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def contents(uri: str) -> list[tuple[bytes, str]]:
    return [
        (sample.image(), sample.caption())
        for part in find_parts(uri)
        for sample in part.open().samples
    ]


def test_a_shard_has_its_samples_in_order(tmp_path: Path) -> None:
    files = {
        "b/0.png": picture(grey=1),
        "b/0.txt": b"\xef\xbb\xbfone\n line",
        "b/0.json": b'{"caption": "not this one"}',
        "a.JPG": picture(kind="JPEG"),
        "a.json": b'{"caption": "from  JSON", "text": "no"}',
        "a.seg.png": picture(),
        "failed.json": b"{}",
        ".hidden.png": b"",
        "c.webp": picture(kind="WEBP"),
        "c.cls": b"7",
        "c.txt": "größe".encode(),
    }
    path = shard(tmp_path / "0.tar", files)
    assert contents(str(path)) == [
        (files["b/0.png"], "one line"),
        (files["a.JPG"], "from JSON"),
        (files["c.webp"], "größe"),
    ]
    assert find_parts(str(path))[0].open().without_image == 1


def test_a_pattern_names_shards(tmp_path: Path) -> None:
    for number in range(12):
        shard(tmp_path / f"s-{number:02}.tar", {"a.png": picture(), "a.txt": str(number).encode()})
    assert [text for _, text in contents(f"{tmp_path}/s-{{09..11}}.tar")] == ["9", "10", "11"]
    assert len(find_parts(str(tmp_path))) == 12
    assert len(find_parts(f"file://{tmp_path}/")) == 12


def test_ranges() -> None:
    assert expanded("a{8..10}.tar") == ["a8.tar", "a9.tar", "a10.tar"]
    assert expanded("a{08..10}.tar") == ["a08.tar", "a09.tar", "a10.tar"]
    assert expanded("{0..1}/{5..6}.tar") == ["0/5.tar", "0/6.tar", "1/5.tar", "1/6.tar"]
    assert expanded("a.tar") == ["a.tar"]


def test_a_folder_has_captions_beside_the_images(tmp_path: Path) -> None:
    files = {"x/1.png": picture(), "x/1.txt": b"one", "2.v2.png": picture(), "2.v2.json": b""}
    folder(tmp_path, files | {"2.v2.json": b'{"text": "two"}', ".x.png": b"", "notes.md": b""})
    assert [text for _, text in contents(str(tmp_path))] == ["two", "one"]


def test_a_folder_has_captions_in_its_metadata(tmp_path: Path) -> None:
    lines = [{"file_name": "b.png", "text": "bee"}, {"file_name": "s/a.png", "caption": "ay"}]
    metadata = "\n".join(json.dumps(line) for line in lines).encode()
    files = {"b.png": picture(grey=1), "s/a.png": picture(grey=2), "metadata.jsonl": metadata}
    folder(tmp_path, files)
    assert contents(str(tmp_path)) == [(files["b.png"], "bee"), (files["s/a.png"], "ay")]


def test_a_large_folder_is_cut_into_parts(tmp_path: Path) -> None:
    image = picture(1)
    for number in range(PART_IMAGES + 1):
        folder(tmp_path, {f"{number:05}.png": image, f"{number:05}.txt": b"a"})
    parts = find_parts(str(tmp_path))
    assert [len(part.open().samples) for part in parts] == [PART_IMAGES, 1]
    before = [part.version for part in parts]
    (tmp_path / f"{PART_IMAGES:05}.txt").write_bytes(b"other")
    after = [part.version for part in find_parts(str(tmp_path))]
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False]


def look_through(path: Path) -> None:
    for part in find_parts(str(path)):
        examine(part, 8)


def cut(size: int) -> Callable[[Path], None]:
    """Cut the shard of two samples to some bytes."""

    def work(path: Path) -> None:
        whole = pair(path / "s.tar").read_bytes()
        (path / "s.tar").write_bytes(whole[:size])

    return work


def pair(path: Path) -> Path:
    """Members at 0, 1024, 2048 and 3072, the mark of the end at 4096."""
    image = picture()
    return shard(path, {"a.png": image, "a.txt": b"a", "b.png": image, "b.txt": b"b"})


def damaged_header(path: Path) -> None:
    data = bytearray(pair(path / "s.tar").read_bytes())
    data[2048:2148] = b"\xff" * 100
    (path / "s.tar").write_bytes(data)


def with_files(files: Files, name: str = "s.tar") -> Callable[[Path], None]:
    return lambda path: void(shard(path / name, files))


def loose(files: Files) -> Callable[[Path], None]:
    return lambda path: void(folder(path, files))


def void(_: object) -> None:
    return None


IMAGE = picture()
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n"
BAD = {
    "cut in a member": (cut(2600), r"s\.tar is cut short or damaged at or after b\.png: upload"),
    "cut in a header": (cut(2100), r"s\.tar is cut short or damaged at or after a\.txt"),
    "cut between members": (cut(2048), r"s\.tar is cut short or damaged at or after a\.txt"),
    "damaged header": (damaged_header, r"s\.tar is cut short or damaged at or after a\.txt"),
    "empty shard file": (cut(0), r"s\.tar is cut short or damaged at its beginning"),
    "not a tar": (loose({"s.tar": b"x" * 5000}), r"s\.tar is cut short or damaged at its begin"),
    "no caption in shard": (with_files({"a.png": IMAGE}), r"s\.tar: a\.png has no caption: put"),
    "caption of another": (with_files({"a.png": IMAGE, "b.txt": b"b"}), r"a\.png has no caption"),
    "empty caption": (with_files({"a.png": IMAGE, "a.txt": b" \n"}), r"s\.tar: a\.txt is empty:"),
    "caption not UTF-8": (with_files({"a.png": IMAGE, "a.txt": b"\xff"}), r"a\.txt is not UTF-8"),
    "JSON without caption": (
        with_files({"a.png": IMAGE, "a.json": b"[]"}),
        r"s\.tar: a\.json has no caption: give a text in its field caption",
    ),
    "no JSON": (with_files({"a.png": IMAGE, "a.json": b"{"}), r"s\.tar: a\.json is not JSON"),
    "half a character in JSON": (
        with_files({"a.png": IMAGE, "a.json": b'{"caption": "a fox \\ud83d"}'}),
        r"s\.tar: a\.json has half a character \(\\ud83d, a surrogate alone\) in its caption:",
    ),
    "JSON nested too deep": (
        with_files({"a.png": IMAGE, "a.json": b"[" * 200_000}),
        r"s\.tar: a\.json is not JSON \(it is nested too deep\): correct it",
    ),
    "caption not fetched": (
        with_files({"a.png": IMAGE, "a.txt": POINTER}),
        r"s\.tar: a\.txt is a git-LFS pointer: fetch the file itself",
    ),
    "two images": (
        with_files({"a.png": IMAGE, "a.jpg": IMAGE, "a.txt": b"a"}),
        r"s\.tar: a\.png has the same name as a\.jpg",
    ),
    "no image": (
        with_files({"a.png": b"GIF89a", "a.txt": b"a"}),
        r"s\.tar: a\.png is not a usable image \(no JPEG, PNG or WebP\): replace it",
    ),
    "cut image": (
        with_files({"a.png": IMAGE[:50], "a.txt": b"a"}),
        r"s\.tar: a\.png cannot be decoded \(.*\): replace it by a whole JPEG",
    ),
    "empty folder": (loose({}), r"is empty: give WebDataset shards"),
    "nothing of use": (loose({"a.gif": b""}), r"holds no shards and no images \(a\.gif\)"),
    "compressed": (loose({"a.tar.gz": b""}), r"a\.tar\.gz is compressed: unpack it"),
    "both": (loose({"a.tar": b"", "a.png": b""}), r"holds shards \(a\.tar\) and images \(a\.png\)"),
    "no caption in folder": (loose({"a.png": IMAGE}), r"a\.png has no caption: put a \.txt"),
    "absent image": (
        loose({"b.png": IMAGE, "metadata.jsonl": b'\n{"file_name": "a.png", "text": "a"}'}),
        r"metadata\.jsonl line 2 names a\.png, which is not there",
    ),
    "image without line": (
        loose({"b.png": IMAGE, "metadata.jsonl": b""}),
        r"b\.png is not in metadata\.jsonl: add a line",
    ),
    "metadata not JSON": (
        loose({"b.png": IMAGE, "metadata.jsonl": b"b.png,bee"}),
        r"metadata\.jsonl line 1 is not JSON",
    ),
    "half a character in metadata": (
        loose({"b.png": IMAGE, "metadata.jsonl": b'{"file_name": "b.png", "text": "\\udc00"}'}),
        r"metadata\.jsonl line 1 has half a character \(\\udc00, a surrogate alone\)",
    ),
    "metadata nested too deep": (
        loose({"b.png": IMAGE, "metadata.jsonl": b"[" * 200_000}),
        r"metadata\.jsonl line 1 is not JSON \(it is nested too deep\): write one",
    ),
    "metadata without file": (
        loose({"b.png": IMAGE, "metadata.jsonl": b"{}"}),
        r"metadata\.jsonl line 1 has no file_name",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_data_are_told_for_good(name: str, tmp_path: Path) -> None:
    make, message = BAD[name]
    make(tmp_path)
    with pytest.raises(TrainerError, match=message) as caught:
        look_through(tmp_path)
    assert caught.value.reason is FailureReason.INVALID_DATA
    assert EXIT_CODE_OF[caught.value.reason] in PERMANENT_EXIT_CODES


def test_a_character_in_two_halves_is_one(tmp_path: Path) -> None:
    shard(tmp_path / "s.tar", {"a.png": IMAGE, "a.json": b'{"caption": "\\ud83e\\udd8a"}'})
    assert contents(str(tmp_path)) == [(IMAGE, "🦊")]


def test_names_of_files_need_not_be_utf_8(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    folder(tmp_path, {f"{name}.png": IMAGE, f"{name}.txt": b"a"})
    assert contents(str(tmp_path)) == [(IMAGE, "a")]
    (tmp_path / f"{name}.png").write_bytes(IMAGE[:50])
    with pytest.raises(TrainerError, match="cannot be decoded") as caught:
        look_through(tmp_path)
    assert "cannot be decoded" in failure_of(caught.value).message


@pytest.mark.parametrize(
    ("uri", "reason", "message"),
    [
        ("nowhere", FailureReason.NOT_FOUND, "nowhere does not exist: check the path"),
        ("s-{0..3}.tar", FailureReason.NOT_FOUND, r"s-1\.tar \(and 2 more\) does not exist"),
        ("s-7.tar", FailureReason.NOT_FOUND, r"s-7\.tar does not exist"),
        ("s-{3..0}.tar", FailureReason.INVALID_CONFIGURATION, r"goes down: write \{0\.\.3\}"),
        ("s-0.tar.gz", FailureReason.INVALID_DATA, "is compressed"),
    ],
)
def test_addresses_that_lead_nowhere(
    uri: str, reason: FailureReason, message: str, tmp_path: Path
) -> None:
    pair(tmp_path / "s-0.tar")
    with pytest.raises(TrainerError, match=message) as caught:
        find_parts(f"{tmp_path}/{uri}")
    assert caught.value.reason is reason


def test_a_shard_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (part,) = find_parts(str(pair(tmp_path / "s.tar")))
    found = part.open()
    with Path("/proc/self/mem").open("rb") as unreadable:  # its first page: an I/O error
        os.dup2(unreadable.fileno(), found._descriptor)  # type: ignore[attr-defined]
    with pytest.raises(TrainerError, match=r"cannot read .*/s\.tar: Input/output error") as caught:
        found.samples[0].image()
    assert caught.value.reason is FailureReason.STORAGE_UNAVAILABLE
    found.close()
    (tmp_path / "s.tar").unlink()
    with pytest.raises(TrainerError, match=r"s\.tar does not exist: check the path") as caught:
        part.open()
    assert caught.value.reason is FailureReason.NOT_FOUND
    (tmp_path / "s.tar").symlink_to("s.tar")
    with pytest.raises(TrainerError, match=r"s\.tar: Too many levels of symbolic links") as caught:
        part.open()
    assert caught.value.reason is FailureReason.STORAGE_UNAVAILABLE


def test_small_images_are_left_out_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sides = [4, 16, 8, 7]
    images = {f"{n}.png": picture(side) for n, side in enumerate(sides)}
    texts = {f"{n}.txt": b"a" for n in range(len(sides))}
    shard(tmp_path / "s.tar", dict(sorted((images | texts | {"9.txt": b""}).items())))
    parts = find_parts(str(tmp_path))
    counts = take_census(parts, 8, SoloGroup(), FileStorage(tmp_path / "run"))
    assert counts == [Count(4, (0, 3), 1)]
    assert "2 of 4 images are left out" in caplog.text
    assert "1 samples without an image" in caplog.text


def test_no_usable_image_at_all(tmp_path: Path) -> None:
    shard(tmp_path / "s.tar", {"a.png": picture(4), "a.txt": b"a"})
    with pytest.raises(TrainerError, match="no image of at least 8 pixels: give larger") as caught:
        take_census(find_parts(str(tmp_path)), 8, SoloGroup(), FileStorage(tmp_path / "run"))
    assert caught.value.reason is FailureReason.INVALID_DATA


def test_a_later_attempt_does_not_look_again_unless_data_changed(tmp_path: Path) -> None:
    run = FileStorage(tmp_path / "run")
    data = tmp_path / "data"
    data.mkdir()
    pair(data / "s.tar")
    parts = find_parts(str(data))
    counts = take_census(parts, 8, SoloGroup(), run)
    unopened = [Unopened(part.name, part.version) for part in parts]
    assert take_census(unopened, 8, SoloGroup(), run) == counts
    with pytest.raises(AssertionError, match="opened"):
        take_census(unopened, 16, SoloGroup(), run)
    shard(data / "s.tar", {"a.png": picture(9), "a.txt": b"a"})
    assert take_census(find_parts(str(data)), 8, SoloGroup(), run) == [Count(1, (), 0)]


@dataclass
class Ranks:
    """Two ranks, of which the other one says something of its own."""

    other: str
    rank: int = 0
    world_size: int = 2

    def all_gather(self, value: str) -> list[str]:
        return [value, self.other or value]


def test_all_nodes_must_see_the_same_parts() -> None:
    parts = [Unopened("s.tar", "1")]
    require_same_parts(Ranks(""), parts)
    with pytest.raises(TrainerError, match="not the same on all nodes: mount the same volume"):
        require_same_parts(Ranks("of other parts"), parts)


@dataclass
class Images:
    fingerprint: str


def test_other_images_than_the_checkpoints_are_told(caplog: pytest.LogCaptureFixture) -> None:
    names = [Unopened("a.tar", "1"), Unopened("b.tar", "1")]
    counts = [Count(4, (), 0), Count(5, (), 0)]
    before = fingerprint(names, counts)
    for meta, images in [({}, before), ({META: before}, before), ({META: before}, None)]:
        tell_other_images(meta, images and Images(images))
    assert not caplog.text
    tell_other_images({META: before}, Images(fingerprint(names, [Count(4, (1,), 0), counts[1]])))
    assert "other images than when the checkpoint was made" in caplog.text
