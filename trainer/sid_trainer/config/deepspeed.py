"""The section ``deepspeed``."""

from __future__ import annotations

import json
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from sid_trainer.config.base import Offload, Section

MAX_LEVELS = 8
"""Objects within objects in ``config``; DeepSpeed's own settings have 3."""
MAX_BYTES = 65_536


class DeepSpeedConfig(Section):
    """DeepSpeed settings."""

    zero_stage: Literal[3] = Field(
        default=3,
        description="ZeRO stage. All three networks are partitioned over all GPUs (stage 3).",
    )
    offload: Offload = Field(
        default="none",
        description="optimizer keeps fp32 weights, Adam's state and the moving average in host "
        "memory and steps there: much less GPU memory, slower steps. Not with precision pure-bf16.",
    )
    config: dict[str, Any] = Field(
        default_factory=dict,
        description="DeepSpeed JSON settings laid over the generated ones, for both trained "
        "networks, for instance {zero_optimization: {reduce_bucket_size: 100000000}}. Batch "
        "sizes, precision, optimizer, gradient clipping, offload and ZeRO stage have fields of "
        "their own and are refused here. So is what is not known to leave the results alone "
        "(offload_param, zero_hpz_partition_size, quantized weights, ...); the message names what "
        "is allowed.",
    )

    @model_validator(mode="after")
    def _config_is_small(self) -> Self:
        if _levels(self.config) > MAX_LEVELS:
            raise ValueError(
                f"config is nested more than {MAX_LEVELS} levels deep: DeepSpeed has no such "
                "setting"
            )
        if len(json.dumps(self.config)) > MAX_BYTES:
            raise ValueError(f"config is longer than {MAX_BYTES} bytes as JSON: shorten it")
        return self


def _levels(value: object) -> int:
    """Levels of objects and lists in a value, counted to one above :data:`MAX_LEVELS`."""
    level, levels = [value], 0
    while levels <= MAX_LEVELS and (level := [v for v in level if isinstance(v, dict | list)]):
        levels += 1
        level = [i for v in level for i in (v.values() if isinstance(v, dict) else v)]
    return levels
