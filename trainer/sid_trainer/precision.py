"""The types of torch that go by the names of the configuration."""

from __future__ import annotations

import torch

from sid_trainer.config import RunConfig

COMPUTE_DTYPE = {"fp32": torch.float32, "bf16": torch.bfloat16, "pure-bf16": torch.bfloat16}
"""What a network computes in, by ``training.precision``."""


def exported_dtype(config: RunConfig) -> torch.dtype:
    """What the student's weights are written in."""
    return COMPUTE_DTYPE[config.student.export_precision or config.training.precision]
