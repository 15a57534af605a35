"""The section ``checkpoint``: when state is saved, and how much of it is kept."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sid_trainer.config.base import Section


class CheckpointConfig(Section):
    """When state is saved, and how much of it is kept."""

    every_iterations: int = Field(
        default=500,
        ge=1,
        le=1_000_000,
        description="Iterations between two checkpoints. One more is written at the end.",
    )
    keep_last: int = Field(
        default=2,
        ge=1,
        le=1_000,
        description="Checkpoints kept; older ones are removed after a new one is committed.",
    )
    keep_best: int = Field(
        default=0,
        ge=0,
        le=1_000,
        description="Checkpoints kept besides: those whose students are the best so far by "
        "evaluation.metrics.best. It needs evaluation.metrics.everyIterations to be a multiple of "
        "everyIterations, so that measured students have checkpoints.",
    )
    resume: Literal["auto", "required"] = Field(
        default="auto",
        description="auto goes on from the newest checkpoint that is whole, and begins anew where "
        "there has never been one; required ends the run where there is none.",
    )
    tolerated_failures: int = Field(
        default=3,
        ge=0,
        le=1_000,
        description="Checkpoints in a row that may stay unwritten because the store does not "
        "answer. Training goes on meanwhile; one more ends the run, which is then retried.",
    )
