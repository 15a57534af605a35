"""``checkpoints export``: from parts in the layout that is promised to a stock pipeline in S3."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import SD3Transformer2DModel, StableDiffusion3Pipeline
from torch import Tensor

from sid_trainer.checkpoint import layout
from sid_trainer.checkpoint.manifest import Manifest, PartFile
from sid_trainer.checkpoint.pruning import Pruner
from sid_trainer.checkpoint.settings import resume_settings
from sid_trainer.checkpoint.state import RankState
from sid_trainer.checkpoint.store import CheckpointStore
from sid_trainer.cli import main
from sid_trainer.config import RunConfig
from sid_trainer.contract import ExitCode
from sid_trainer.process.group import SoloGroup
from sid_trainer.storage import FileStorage, Storage
from tests.minio_server import MinioServer

RANKS, ITERATION = 3, 40


def run_config(teacher: str, **training: object) -> RunConfig:
    return RunConfig.model_validate(
        {
            "teacher": {"model": teacher},
            "data": {"prompts": {"uri": "/gone/p.txt"}, "images": {"uri": "/gone/images"}},
            "storage": {"uri": "file:///gone"},
            "student": {"steps": 3, "noise": "ddim"},
            "distillation": {"adversarial": {"studentStartsAfterImages": 400_000}},
            "training": {"images": 900_000, "batchSize": 6, **training},
            "launch": {"processesPerNode": RANKS},
        }
    )


def parameters(teacher: Path, seed: int) -> dict[str, Tensor]:
    """Random parameters of the teacher's network."""
    network = SD3Transformer2DModel.from_pretrained(teacher, subfolder="transformer")
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(value.shape, generator=generator)
        for name, value in network.named_parameters()
    }


class OneOf(SoloGroup):
    """A rank that needs nothing of the others."""

    def __init__(self, rank: int) -> None:
        self.rank, self.world_size = rank, RANKS


def write_checkpoint(
    storage: Storage, config: RunConfig, kinds: dict[str, dict[str, Tensor]]
) -> None:
    """A checkpoint of three ranks, each kind of tensors cut as a state promises."""
    numel = {name: value.numel() for name, value in kinds["student/weight"].items()}
    settings = resume_settings(config)

    def part(rank: int) -> PartFile:
        tensors = {}
        for kind, values in kinds.items():
            for name, value in values.items():
                length = -(-value.numel() // RANKS)
                padded = torch.nn.functional.pad(
                    value.flatten(), (0, length * RANKS - value.numel())
                )
                tensors[f"{kind}/{name}"] = padded[rank * length : (rank + 1) * length]
        meta = {"iteration": ITERATION, "rank": rank, "worldSize": RANKS, "numel": numel}
        store = CheckpointStore(storage, OneOf(rank), settings, Pruner(storage, 1, keep_last=1))
        return store.upload(RankState(tensors, meta), ITERATION)

    parts = [part(rank) for rank in range(RANKS)]
    store = CheckpointStore(storage, OneOf(0), settings, Pruner(storage, 1, keep_last=1))
    store.commit(parts, ITERATION)
    manifest = storage.get_bytes(layout.manifest_key(ITERATION))
    assert Manifest.model_validate_json(manifest).world_size == RANKS


@pytest.fixture
def bucket(
    minio: MinioServer, prefix: str, monkeypatch: pytest.MonkeyPatch, tiny_sd3: Path
) -> Storage:
    """A run's folder in S3 with a checkpoint; the teacher's place in its settings is gone."""
    for name, value in minio.environ.items():
        monkeypatch.setenv(name, value)
    storage: Storage = minio.storage(f"{prefix}/nightly")
    averaged, present = (parameters(tiny_sd3, seed) for seed in (1, 2))
    kinds = {"ema/weight": averaged, "student/weight": present, "fake/weight": present}
    write_checkpoint(storage, run_config("/gone/teacher"), kinds)
    return storage


def export(minio: MinioServer, run: Storage, *more: str) -> int:
    arguments = ["--storage", run.uri(), "--endpoint", minio.endpoint, *more]
    return main(["checkpoints", "export", *arguments])


@pytest.mark.parametrize("raw", [False, True])
def test_the_student_goes_to_s3_and_is_a_stock_pipeline(
    minio: MinioServer, bucket: Storage, prefix: str, tiny_sd3: Path, tmp_path: Path, raw: bool
) -> None:
    more = ["--to", minio.storage(prefix).uri("out/student"), "--teacher", str(tiny_sd3)]
    assert export(minio, bucket, *more, *(["--raw"] if raw else [])) == ExitCode.DONE
    there = minio.storage(f"{prefix}/out")
    for found in there.list():
        there.get_file(found.key, tmp_path / found.key)
    pipeline = StableDiffusion3Pipeline.from_pretrained(tmp_path / "student", dtype=torch.bfloat16)
    loaded = dict(pipeline.transformer.named_parameters())
    expected = parameters(tiny_sd3, 2 if raw else 1)
    assert loaded.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(loaded[name], value.bfloat16()), name
    teacher = SD3Transformer2DModel.from_pretrained(tiny_sd3, subfolder="transformer")
    buffer = pipeline.transformer.pos_embed.pos_embed
    assert torch.equal(buffer, teacher.pos_embed.pos_embed.bfloat16())
    card = (tmp_path / "student" / "README.md").read_text()
    assert card.startswith("---")
    assert "# nightly" in card
    assert "`/gone/teacher`" in card
    assert "num_inference_steps=3" in card
    assert ("| Weights | last iterate |" in card) is raw
    assert not pipeline.scheduler.config.stochastic_sampling


def test_a_teacher_that_is_gone_is_named(
    minio: MinioServer, bucket: Storage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(minio, bucket, "--to", str(tmp_path / "student")) == ExitCode.NOT_FOUND
    told = capsys.readouterr().err
    assert "teacher.model: /gone/teacher does not exist" in told
    assert not (tmp_path / "student").exists()


def test_another_teacher_is_refused(
    minio: MinioServer,
    bucket: Storage,
    tiny_sd3: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = tmp_path / "other"
    shutil.copytree(tiny_sd3, other)
    config = other / "transformer" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "num_layers": 4}))
    place = ("--to", str(tmp_path / "student"), "--teacher", str(other))
    assert export(minio, bucket, *place) == ExitCode.CONFIGURATION
    assert "is of another network" in capsys.readouterr().err
    assert not (tmp_path / "student").exists()


def test_a_damaged_part_is_named_and_nothing_is_written(
    minio: MinioServer,
    bucket: Storage,
    tiny_sd3: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    part = f"{layout.folder(ITERATION)}/{layout.part_key(1, 1)}"
    data = bytearray(bucket.get_bytes(part))
    data[len(data) // 4] ^= 1  # within the first third, which is the average
    bucket.put_bytes(part, bytes(data))
    place = ("--to", str(tmp_path / "student"), "--teacher", str(tiny_sd3))
    assert export(minio, bucket, *place) == ExitCode.DATA
    assert bucket.uri(part) in capsys.readouterr().err
    assert not (tmp_path / "student").exists()


def test_an_initial_student_gives_its_buffers(tiny_sd3: Path, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    shutil.copytree(tiny_sd3, begun)
    network = SD3Transformer2DModel.from_pretrained(begun, subfolder="transformer")
    network.pos_embed.pos_embed.mul_(2)
    network.save_pretrained(begun / "transformer")
    config = run_config(str(tiny_sd3), precision="fp32", ema={"halfLifeImages": 0})
    student = config.student.model_copy(update={"init_from": str(begun)})
    present = parameters(tiny_sd3, 3)
    storage = FileStorage(tmp_path / "run")
    write_checkpoint(
        storage, config.model_copy(update={"student": student}), {"student/weight": present}
    )
    to = tmp_path / "student"
    arguments = ["--storage", storage.uri(), "--to", str(to)]
    assert main(["checkpoints", "export", *arguments]) == ExitCode.DONE
    exported = SD3Transformer2DModel.from_pretrained(to, subfolder="transformer")
    assert torch.equal(exported.pos_embed.pos_embed, network.pos_embed.pos_embed)
    assert torch.equal(exported.proj_out.weight, present["proj_out.weight"])
