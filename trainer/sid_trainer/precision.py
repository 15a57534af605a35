"""The types of torch that go by the names of the configuration."""

from __future__ import annotations

import torch

COMPUTE_DTYPE = {"fp32": torch.float32, "bf16": torch.bfloat16, "pure-bf16": torch.bfloat16}
"""What a network computes in, and is exported in, by ``training.precision``."""
