"""How a script is run on several ranks, and what these scripts have in common."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sid_trainer.config import RunConfig
from sid_trainer.engine.distributed import Place, join
from sid_trainer.engine.iteration import Distiller, IterationResult, MicroBatch
from sid_trainer.engine.networks import build_networks
from sid_trainer.method.adversarial import RealSamples
from sid_trainer.method.noise import NoiseSource, Purpose
from sid_trainer.precision import COMPUTE_DTYPE
from sid_trainer.teachers import open_teacher

DEADLINE_SECONDS = 900  # a guard against hangs; a loaded machine may be slow
PROMPTS = [f"a handwritten {word}" for word in ("zero", "one", "two", "three", "four", "five")]


def run_config(teacher: str, /, world_size: int = 2, **sections: dict[str, Any]) -> RunConfig:
    """A small run on CPU; ``sections`` are laid over it."""
    training = {
        "batchSize": 8,
        "sharedRollOut": False,
        "iterations": 6,
        "precision": "fp32",
        "learningRate": 1e-3,
        "fakeLearningRate": 2e-3,
        "gradientCheckpointing": False,
        "ema": {"halfLifeImages": 16},
        "seed": 5,
    }
    return RunConfig.model_validate(
        {
            "teacher": {"model": teacher},
            "data": {"prompts": {"uri": "unused"}},
            "storage": {"uri": "file:///unused"},
            "launch": {"device": "cpu", "processesPerNode": world_size, "progressPort": 0},
            **sections,
            "training": training | sections.get("training", {}),
        }
    )


CAPTIONS = ["seven", "eight", "nine"]


def real_latents(samples: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Latents ``[B, C, H, W]`` that stand for real images."""
    return NoiseSource(77, 0, samples, torch.device("cpu")).normal(Purpose.PREVIEW, shape) / 2


class Rank:
    """One rank of a run without data, storage and reporting: every iteration the same prompts."""

    def __init__(self, config: RunConfig, place: Place) -> None:
        dtype = COMPUTE_DTYPE[config.training.precision]
        teacher = open_teacher(config.teacher, Path(config.teacher.model), place.device, dtype)
        self.networks = build_networks(config, teacher, teacher.directory)
        self.distiller = Distiller(
            teacher,
            self.networks,
            config.student,
            config.distillation,
            config.training,
            teacher.latent_shape(teacher.resolution(config.data.resolution)),
            teacher.encode([""]),
        )
        samples = place.samples(config.training.batch_size)
        condition = teacher.encode([PROMPTS[i % len(PROMPTS)] for i in samples])
        captions = teacher.encode([CAPTIONS[i % len(CAPTIONS)] for i in samples])
        real = RealSamples(real_latents(samples, self.distiller.latent_shape), captions)
        size = config.micro_batch_size
        cuts = [slice(start, start + size) for start in range(0, len(samples), size)]
        self.batch = [MicroBatch(samples[cut], condition[cut], real[cut]) for cut in cuts]

    def iterate(self, iteration: int) -> IterationResult:
        return self.distiller.iterate(iteration, self.batch)


def joined(world_size: int = 2) -> Place:
    config = run_config("unused", world_size)
    return join(config.launch, config.training.watchdog_seconds)


def quiet() -> None:
    torch.set_num_threads(1)


def run_on_ranks(logs: Path, script: str, *arguments: str, world_size: int = 2) -> None:
    """Run a script of this folder on some ranks and fail with its output if one fails."""
    from tests.loopback import free_port  # noqa: PLC0415 - the scripts that import this lack it

    port = free_port()
    processes = [
        _start(script, arguments, rank, world_size, port, logs) for rank in range(world_size)
    ]
    try:
        codes = [process.wait(DEADLINE_SECONDS) for process in processes]
    finally:
        for process in processes:
            process.kill()  # does nothing to one that has ended
    if any(codes):
        texts = [(logs / f"rank{rank}.log").read_text() for rank in range(world_size)]
        pytest.fail(f"exit codes {codes}\n" + "\n".join(text[-6000:] for text in texts))


def _start(
    script: str, arguments: tuple[str, ...], rank: int, world_size: int, port: int, logs: Path
) -> subprocess.Popen[bytes]:
    environment = os.environ | {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world_size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
        "DS_ACCELERATOR": "cpu",
    }
    with (logs / f"rank{rank}.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, str(Path(__file__).parent / script), *arguments],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
