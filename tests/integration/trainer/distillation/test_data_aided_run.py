"""A run that meets a corrupt image keeps what it has trained, and goes on once that is mended.

The image is damaged after the data set was looked through, without a sign in size or date. What the
run shows of data-aided training, and keeps for others, is looked at as well.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from sid_trainer.chunks import IMAGES_HELD
from sid_trainer.contract import ExitCode
from sid_trainer.data.images.census import take_census
from sid_trainer.data.images.order import ImageOrder
from sid_trainer.data.images.places import find_parts
from sid_trainer.data.images.tar import members
from sid_trainer.process.group import SoloGroup
from sid_trainer.storage import FileStorage

BATCH = IMAGES_HELD  # so that each iteration is a chunk of its own
IMAGES = 2 * BATCH
RESOLUTION = 16
PROMPTS = ("a handwritten three", "the digit 7")
CAPTION = "a handwritten seven"


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "0.tar"
    random = np.random.default_rng(0)
    with tarfile.open(path, "w") as archive:
        for number in range(IMAGES):
            buffer = io.BytesIO()
            Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(
                buffer, "PNG"
            )
            files = {f"{number}.png": buffer.getvalue(), f"{number}.txt": CAPTION.encode()}
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return path


def config(folder: Path, teacher: Path, shard: Path) -> dict[str, Any]:
    (folder / "prompts.txt").write_text("\n".join(PROMPTS))
    return {
        "teacher": {"model": str(teacher)},
        "student": {"noise": "fixed"},
        "data": {
            "prompts": {"uri": str(folder / "prompts.txt")},
            "images": {"uri": str(shard)},
            "encodingCache": {"uri": str(folder / "encodings")},
        },
        "distillation": {
            "guidance": {"scale": 1.0},
            "adversarial": {"studentStartsAfterImages": 0, "startsAfterImages": 0},
        },
        "training": {
            "iterations": 2,
            "batchSize": BATCH,
            "precision": "fp32",
            "gradientCheckpointing": False,
        },
        "evaluation": {"everyIterations": 100, "prompts": [PROMPTS[1]]},
        "storage": {"uri": (folder / "run").as_uri()},
        "launch": {"device": "cpu", "progressPort": 0},
    }


def train(file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sid_trainer", "train", "--config", str(file)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1800,
        check=False,
    )


def test_nothing_trained_is_lost_to_a_corrupt_image(
    tmp_path: Path, tiny_sd3: Path, shard: Path
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config(tmp_path, tiny_sd3, shard)))
    take_census(find_parts(str(shard)), RESOLUTION, SoloGroup(), FileStorage(tmp_path / "run"))
    _, victim = ImageOrder([IMAGES], BATCH, seed=0).places(1, [0])[0]
    with shard.open("rb") as tar:
        member = next(m for m in members(tar, str(shard)) if m.name == f"{victim}.png")
    whole, date = shard.read_bytes(), shard.stat()
    start = member.offset + member.size // 2
    shard.write_bytes(whole[:start] + bytes(200) + whole[start + 200 :])
    os.utime(shard, ns=(date.st_atime_ns, date.st_mtime_ns))

    failed = train(file)
    assert failed.returncode == ExitCode.DATA, failed.stdout[-4000:]
    assert f"data.images.uri: {shard}: {victim}.png cannot be decoded" in failed.stdout
    checkpoints = tmp_path / "run" / "checkpoints"
    assert [folder.name for folder in checkpoints.iterdir()] == ["iter-00000001"]

    shard.write_bytes(whole)
    os.utime(shard, ns=(date.st_atime_ns, date.st_mtime_ns))
    finished = train(file)
    assert finished.returncode == ExitCode.DONE, finished.stdout[-4000:]
    assert "resumed after iteration 1" in finished.stdout
    student = {path.name for path in (tmp_path / "run" / "student").iterdir()}
    assert {"model_index.json", "fixed_noise_scheduler.py"} <= student
    reports = [
        json.loads(line)
        for part in (tmp_path / "run").glob("metrics/attempt-0002/*.jsonl")
        for line in part.read_text().splitlines()
    ]
    assert {"discriminatorLoss", "generatorLoss"} <= reports[-1].keys(), reports[-1]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Discriminator's loss" in page.replace("&#x27;", "'")
    kept = list((tmp_path / "encodings").rglob("*.safetensors"))
    assert len(kept) == len({*PROMPTS, CAPTION, ""})
