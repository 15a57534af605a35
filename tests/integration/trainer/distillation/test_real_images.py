"""Latents and captions of real images, with a real autoencoder and real text encoders."""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.data.encoding import Encode
from sid_trainer.data.images.census import take_census
from sid_trainer.data.images.latents import PartReader, RealImages
from sid_trainer.data.images.order import ImageOrder
from sid_trainer.data.images.places import find_parts
from sid_trainer.method.conditions import Condition
from sid_trainer.method.noise import NoiseSource, Purpose
from sid_trainer.process.group import SharedError, SoloGroup
from sid_trainer.storage import FileStorage
from sid_trainer.teachers.sd3 import SD3Teacher

RESOLUTION, BATCH, SEED = 16, 4, 3
IMAGES_PER_SHARD, SHARDS = 5, 10


@pytest.fixture(scope="module")
def teacher(tiny_sd3: Path) -> SD3Teacher:
    return SD3Teacher(tiny_sd3, torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifty different images with as many captions."""
    folder = tmp_path_factory.mktemp("shards")
    random = np.random.default_rng(0)
    for number in range(SHARDS):
        files = {}
        for image in range(IMAGES_PER_SHARD):
            pixels = random.integers(0, 256, (16, 20, 3), dtype=np.uint8)
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "PNG")
            files[f"{image}.png"] = buffer.getvalue()
            files[f"{image}.txt"] = f"the digit {number} {image}".encode()
        write(folder / f"{number}.tar", files)
    return folder


def write(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def opened(
    shards: Path,
    teacher: SD3Teacher,
    samples: range,
    capacity: int,
    encode: Encode | None = None,
) -> RealImages:
    parts = find_parts(str(shards))
    counts = take_census(parts, RESOLUTION, SoloGroup(), FileStorage(shards / "run"))
    order = ImageOrder([count.usable for count in counts], BATCH, SEED)
    reader = PartReader(parts, counts)
    encode = encode or teacher.encode
    return RealImages(reader, order, samples, teacher, encode, RESOLUTION, SoloGroup(), capacity)


def assert_equal(
    one: tuple[torch.Tensor, Condition], other: tuple[torch.Tensor, Condition]
) -> None:
    torch.testing.assert_close(one[0], other[0], rtol=0, atol=1e-6)
    for name, tensor in one[1].tensors.items():
        torch.testing.assert_close(tensor, other[1].tensors[name], rtol=0, atol=1e-6)


def test_an_iteration_has_its_images_with_their_captions(shards: Path, teacher: SD3Teacher) -> None:
    """Against each image read, cropped and encoded by itself."""
    iteration = 2
    latents, condition = opened(shards, teacher, range(BATCH), 8).of(iteration)
    order = ImageOrder([IMAGES_PER_SHARD] * SHARDS, BATCH, SEED)
    for row, (shard, number) in enumerate(order.places(iteration, range(BATCH))):
        with tarfile.open(shards / f"{shard}.tar") as archive:
            file = archive.extractfile(f"{number}.png")
            pixels = np.array(Image.open(file))[:, 2:18]  # the middle 16 of 20 columns
        noise = NoiseSource(SEED, iteration, [row], torch.device("cpu"))
        expected = teacher.encode_images(
            torch.tensor(pixels).permute(2, 0, 1)[None] / 255,
            noise.normal(Purpose.POSTERIOR, (4, 8, 8)),
        )
        encoded = teacher.encode([f"the digit {shard} {number}"])
        assert_equal((latents[row : row + 1], condition[row : row + 1]), (expected, encoded))
    assert latents.dtype == torch.float32


def test_neither_chunks_nor_ranks_nor_resuming_matter(shards: Path, teacher: SD3Teacher) -> None:
    whole = opened(shards, teacher, range(BATCH), capacity=1000)
    all_at_once = [whole.of(iteration) for iteration in range(14)]  # more than an epoch
    halves = [opened(shards, teacher, range(r * 2, r * 2 + 2), capacity=6) for r in range(2)]
    for iteration, expected in enumerate(all_at_once):
        latents, conditions = zip(*(half.of(iteration) for half in halves), strict=True)
        assert_equal((torch.cat(latents), Condition.cat(conditions)), expected)
    assert_equal(opened(shards, teacher, range(BATCH), 12).of(10), all_at_once[10])


def test_a_shard_that_is_gone_is_told_to_all_ranks(
    shards: Path, teacher: SD3Teacher, tmp_path: Path
) -> None:
    """As an error that ranks raise together, after which what is trained can be kept."""
    copied = shutil.copytree(shards, tmp_path / "set")
    images = opened(copied, teacher, range(BATCH), capacity=4)
    images.of(0)
    later = range(4, 26)
    gone = next(part for at in later for part in images._order.parts(range(at, at + 1)))
    images._reader.keep_only(set())
    (copied / f"{gone}.tar").unlink()
    with pytest.raises(SharedError, match=rf"data\.images\.uri: {copied}/{gone}\.tar does") as told:
        list(map(images.of, later))
    assert told.value.reason is FailureReason.NOT_FOUND


def test_what_an_encoder_cannot_do_is_not_blamed_on_the_images(
    shards: Path, teacher: SD3Teacher
) -> None:
    def refusing(captions: Sequence[str]) -> Condition:
        raise TrainerError(FailureReason.ACCESS_DENIED, f"no {len(captions)} captions")

    with pytest.raises(SharedError, match=rf"no {BATCH} captions") as told:
        opened(shards, teacher, range(BATCH), BATCH, refusing).of(0)
    assert "data.images.uri" not in str(told.value)


def test_only_the_parts_in_use_are_open(shards: Path, teacher: SD3Teacher) -> None:
    images = opened(shards, teacher, range(BATCH), capacity=4)
    for iteration in range(26):  # two epochs
        images.of(iteration)
        in_use = images._order.parts(range(iteration, iteration + 1))
        assert images._reader._open.keys() <= in_use
    assert len(images._order.parts(range(1))) < SHARDS
