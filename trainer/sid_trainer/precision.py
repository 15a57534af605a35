"""The types of torch by their names: those of the configuration, and those of safetensors."""

from __future__ import annotations

import torch

from sid_trainer.config import RunConfig

COMPUTE_DTYPE = {"fp32": torch.float32, "bf16": torch.bfloat16, "pure-bf16": torch.bfloat16}
"""What a network computes in, by ``training.precision``."""
STORED_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""Types of stored tensors, by their names in the header of a file of safetensors."""


def exported_dtype(config: RunConfig) -> torch.dtype:
    """What the student's weights are written in."""
    return COMPUTE_DTYPE[config.student.export_precision or config.training.precision]
