"""A tiny SD3 pipeline with random weights."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.integration.trainer.tiny_teacher import write_teacher

# Scripts that run on several ranks are in this folder, and share modules with the tests.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def tiny_sd3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of a ``StableDiffusion3Pipeline``: 16 px images, 4-channel 8x8 latents."""
    return write_teacher(tmp_path_factory.mktemp("tiny-sd3"))
