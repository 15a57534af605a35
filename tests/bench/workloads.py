"""What is trained where: sizes that fit the machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from sid_trainer.config import AttentionKernels
from tests.bench.shapes import Shape, flux, sd3, small

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Workload:
    """What is trained.

    Attributes:
        shape: of the networks.
        device: cpu or cuda.
        batch: images a process in an iteration.
        checkpointing: whether activations are recomputed.
        compiled: whether torch compiles the blocks.
        attention: kernels that compute it.
        world_size: processes of the run.
        processes: world sizes to measure.
        zero: DeepSpeed's ZeRO settings laid over the trainer's.
    """

    shape: Shape
    device: str
    batch: int
    checkpointing: bool = False
    compiled: bool = False
    attention: AttentionKernels = "auto"
    world_size: int = 1
    processes: tuple[int, ...] = (1,)
    zero: Mapping[str, Any] = field(default_factory=dict)

    @property
    def precision(self) -> str:
        """bf16 on accelerators."""
        return "bf16" if self.device == "cuda" else "fp32"

    @property
    def dtype(self) -> torch.dtype:
        """In which networks compute."""
        return DTYPES[self.precision]

    def describe(self) -> str:
        """Its size in words."""
        kept = "recomputed" if self.checkpointing else "kept"
        described = f"{self.shape.name}, batch {self.batch}, activations {kept}"
        described += ", compiled" if self.compiled else ""
        described += "" if self.attention == "auto" else f", attention {self.attention}"
        return ", ".join((described, *(f"{name} {value}" for name, value in self.zero.items())))

    def sections(self, iterations: int) -> dict[str, Any]:
        """The run's configuration."""
        return {
            "teacher": {"model": "teacher"},
            "data": {"prompts": {"uri": "unused"}, "resolution": self.shape.resolution},
            "storage": {"uri": "file:///unused"},
            "launch": {
                "device": self.device,
                "processesPerNode": self.world_size,
                "progressPort": 0,
            },
            "deepspeed": {"config": {"zero_optimization": dict(self.zero)}},
            "training": {
                "batchSize": self.batch * self.world_size,
                "sharedRollOut": False,  # as the plain loop rolls out
                "iterations": iterations,
                "precision": self.precision,
                "learningRate": 1e-6,
                "gradientCheckpointing": self.checkpointing,
                "compile": self.compiled,
                "attention": self.attention,
            },
        }


# About 0.6 billion parameters: 42 bytes of each for the three networks with fp32 gradients and
# average are 25 GB of an 80 GB card, and the plain loop beside them has 34 bytes of each.
_SD35 = Workload(
    sd3("SD3.5-Medium, 6 layers", layers=6, heads=24, dual=3, qk_norm="rms_norm"),
    "cuda",
    batch=8,
    checkpointing=True,
)
_FLUX = Workload(
    flux("FLUX.1-dev, 1 + 2 layers", layers=1, single=2), "cuda", batch=4, checkpointing=True
)
_SD35_KEPT = replace(_SD35, checkpointing=False, compiled=True)
_FLUX_KEPT = replace(_FLUX, checkpointing=False, compiled=True)
WORKLOADS: Mapping[str, Mapping[str, Workload]] = {
    "cpu": {
        "digits": Workload(
            small("2 layers of 64, 16 tokens", width=64, layers=2, side=8, tokens=85),
            "cpu",
            batch=32,
            processes=(1, 2),
        ),
        "wide": Workload(
            small("2 layers of 512, 256 tokens", width=512, layers=2, side=32, tokens=85),
            "cpu",
            batch=1,
            processes=(1, 2),
        ),
    },
    "cuda": {
        "sd3.5-medium": _SD35,
        "sd3.5-medium, compiled": replace(_SD35, compiled=True),
        "sd3.5-medium, kept, compiled": _SD35_KEPT,
        "sd3.5-medium, kept, compiled, torch": replace(_SD35_KEPT, attention="torch"),
        "flux": _FLUX,
        "flux, compiled": replace(_FLUX, compiled=True),
        "flux, kept, compiled": _FLUX_KEPT,
        "flux, kept, compiled, torch": replace(_FLUX_KEPT, attention="torch"),
    },
}


def workload(name: str, device: str, world_size: int) -> Workload:
    """The workload of a name on some processes."""
    return replace(WORKLOADS[device][name], world_size=world_size)
