"""The teachers of the paper on one node of 8 x 80 GB, as a table of what they need."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sid_trainer.config import RunConfig
from sid_trainer.estimate.known import KNOWN
from sid_trainer.estimate.model import estimate_run
from sid_trainer.estimate.report import Estimate
from sid_trainer.memory.accounts import GIB

GPU_MEMORY_GIB = 79.0
"""What a GPU sold with 80 GB has for programs (H100, A100), rounded down."""
_HEADINGS = (
    "teacher",
    "at a time",
    "always",
    "largest phase",
    "a GPU",
    "to spare",
    "a node",
    "kept",
)


@dataclass(frozen=True)
class Setting:
    """A row of the table.

    Attributes:
        name: as the paper calls the teacher.
        model: its id on the Hugging Face Hub.
        resolution: height and width in pixels.
        micro_batch: images that a GPU computes at a time.
        training: further settings of ``training``.
        deepspeed: settings of ``deepspeed``.
    """

    name: str
    model: str
    resolution: int
    micro_batch: int
    training: tuple[tuple[str, Any], ...] = ()
    deepspeed: tuple[tuple[str, Any], ...] = ()

    def run_config(self) -> RunConfig:
        """The run of this row, on one node of 8 GPUs."""
        batch = {"batchSize": 256, "microBatchSize": self.micro_batch}
        return RunConfig.model_validate(
            {
                "teacher": {"model": self.model},
                "data": {"prompts": {"uri": "prompts.txt"}, "resolution": self.resolution},
                "training": batch | dict(self.training),
                "deepspeed": dict(self.deepspeed),
                "storage": {"uri": "s3://bucket"},
                "checkpoint": {"keepLast": 1},
                "launch": {"processesPerNode": 8},
            }
        )

    def estimate(self) -> Estimate:
        """What the row's run needs."""
        return estimate_run(self.run_config(), KNOWN[self.model])


_SANA, _STABLE = "Efficient-Large-Model/", "stabilityai/stable-diffusion-"
_FLUX = "black-forest-labs/FLUX.1-dev"
PAPER: Sequence[Setting] = (
    Setting("SANA 0.6B", _SANA + "Sana_600M_512px_diffusers", 512, 16),
    Setting("SANA 1.6B", _SANA + "Sana_1600M_1024px_BF16_diffusers", 1024, 8),
    Setting(
        "SANA-Sprint 0.6B teacher", _SANA + "Sana_Sprint_0.6B_1024px_teacher_diffusers", 1024, 8
    ),
    Setting(
        "SANA-Sprint 1.6B teacher", _SANA + "SANA_Sprint_1.6B_1024px_teacher_diffusers", 1024, 8
    ),
    Setting("SD3-Medium", _STABLE + "3-medium-diffusers", 1024, 4),
    Setting("SD3.5-Medium", _STABLE + "3.5-medium", 1024, 4),
    Setting("SD3.5-Large", _STABLE + "3.5-large", 1024, 2),
    Setting("FLUX.1-dev", _FLUX, 512, 1),
    Setting("FLUX.1-dev", _FLUX, 1024, 1),
)
"""The teachers of the paper's tables."""
_BUCKET = (("config", {"zero_optimization": {"reduce_bucket_size": 100_000_000}}),)
_NO_AVERAGE = (("ema", {"halfLifeImages": 0}),)
LEVERS: Sequence[Setting] = (
    Setting("`reduce_bucket_size: 100000000`", _FLUX, 1024, 1, (), _BUCKET),
    Setting("and no moving average", _FLUX, 1024, 1, _NO_AVERAGE, _BUCKET),
    Setting("`deepspeed.offload: optimizer`", _FLUX, 1024, 1, (), (("offload", "optimizer"),)),
    Setting("`precision: pure-bf16`", _FLUX, 1024, 1, (("precision", "pure-bf16"),)),
    Setting("`gradientCheckpointing: false`", _FLUX, 1024, 1, (("gradientCheckpointing", False),)),
)
"""What else FLUX.1-dev at 1024 px can be given on one node."""


def table(settings: Sequence[Setting]) -> str:
    """Markdown: a row a setting, sizes in GiB."""
    rows = [_HEADINGS, ("---",) * len(_HEADINGS), *(_row(setting) for setting in settings)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _row(setting: Setting) -> tuple[str, ...]:
    return tuple(_cells(setting, setting.estimate()))


def _cells(setting: Setting, estimate: Estimate) -> Iterator[str]:
    phase = estimate.largest_phase
    yield f"{setting.name}, {setting.resolution} px"
    yield str(setting.micro_batch)
    yield f"{estimate.resident.size / GIB:.1f}"
    yield f"{phase.size / GIB:.1f} ({phase.name})"
    yield f"**{estimate.per_gpu / GIB:.1f}**"
    yield f"{GPU_MEMORY_GIB - estimate.per_gpu / GIB:.1f}"
    yield f"{estimate.node.size / GIB:.0f}"
    yield f"{estimate.storage.parts[0].size / 2 / GIB:.0f}"
