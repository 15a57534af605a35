"""The section ``deepspeed``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from sid_trainer.config.base import Offload, Section


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
        "their own and are refused here.",
    )
