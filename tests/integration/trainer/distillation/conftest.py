"""A tiny SD3 pipeline with random weights, and a process group of one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.integration.trainer.tiny_teacher import write_teacher

# Scripts that run on several ranks are in this folder, and share modules with the tests.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def tiny_sd3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of a ``StableDiffusion3Pipeline``: 16 px images, 4-channel 8x8 latents."""
    return write_teacher(tmp_path_factory.mktemp("tiny-sd3"))


@pytest.fixture
def group_of_one() -> Iterator[None]:
    """A process group of one process, which sums up with itself."""
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()
