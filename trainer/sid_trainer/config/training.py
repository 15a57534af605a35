"""The section ``training``: length, batch, optimizer and what makes a run robust."""

from __future__ import annotations

import math
from typing import Self

from pydantic import Field, model_validator

from sid_trainer.config.base import AttentionKernels, Precision, Section

DEFAULT_IMAGES = 500_000
"""Length of a run, in generated images, when neither iterations nor images is given."""
DEFAULT_RATES: dict[Precision, float] = {"fp32": 2e-6, "bf16": 2e-6, "pure-bf16": 1e-5}
"""Learning rate by precision (arXiv 2509.25127). Adam changes a weight by about the rate, and 2e-6
is less than half the way from a bf16 weight above 1e-3 to the next: it would not change."""


class EmaConfig(Section):
    """Exponential moving average of the student's weights."""

    half_life_images: int = Field(
        default=10_000,
        ge=0,
        description="Images after which a weight counts half. 0 turns the average off. The "
        "average is what is sampled from and exported.",
    )


class TrainingConfig(Section):
    """Length, batch and optimizer of the run."""

    iterations: int | None = Field(
        default=None,
        ge=1,
        le=100_000_000,
        description="Length of the run in iterations; one iteration updates the fake score and the "
        "student once. Give this or images, not both.",
    )
    images: int | None = Field(
        default=None,
        ge=1,
        le=10_000_000_000,
        description=f"Length of the run in generated images. Default {DEFAULT_IMAGES} when "
        "iterations is not given either.",
    )
    batch_size: int = Field(
        default=256,
        ge=1,
        le=65_536,
        description="Images an iteration over all GPUs. Must be a multiple of their number.",
    )
    micro_batch_size: int | None = Field(
        default=None,
        ge=1,
        le=4_096,
        description="Images that one GPU computes at a time; gradients are accumulated to "
        "batchSize. Default: the GPU's whole share of the batch.",
    )
    learning_rate: float | None = Field(
        default=None,
        gt=0.0,
        le=1.0,
        description="Adam learning rate of the student. Default: 2e-6; with precision pure-bf16 "
        "1e-5, because smaller steps are lost when weights are rounded.",
    )
    fake_learning_rate: float | None = Field(
        default=None,
        gt=0.0,
        le=1.0,
        description="Adam learning rate of the fake score network. Default: the student's.",
    )
    precision: Precision = Field(
        default="bf16",
        description="bf16 computes in bfloat16 with fp32 master weights; fp32 computes in fp32; "
        "pure-bf16 holds weights, gradients and optimizer in bfloat16 too: half the memory, and "
        "Adam's epsilon is 1e-4 in place of 1e-8. The moving average is fp32 in all of them.",
    )
    warmup_iterations: int = Field(
        default=0,
        ge=0,
        le=1_000_000,
        description="Iterations in which both learning rates rise linearly to their values, each "
        "from its network's first update on: data-aided runs update the student later.",
    )
    gradient_clipping: float | None = Field(
        default=None,
        gt=0.0,
        le=1e12,
        description="Largest norm of each network's gradient; a larger gradient is scaled down to "
        "it. Choose it by the metrics generatorGradNorm and fakeGradNorm, which are the norms "
        "before clipping. The student's is of a loss that is scaled by 100. Default: off.",
    )
    max_skipped_updates: int = Field(
        default=10,
        ge=0,
        le=10_000,
        description="An update whose loss or gradient is not finite on any GPU is skipped on all "
        "and counted (skippedUpdates). More than this many in a row of one network end the run; 0 "
        "ends it at the first.",
    )
    watchdog_seconds: int = Field(
        default=1_800,
        ge=0,
        le=86_400,
        description="Time without a finished iteration after which the gang is ended, to go on "
        "from the last checkpoint, with a message that says which rank hangs. It is an upper "
        "bound: once the pace is known, 20 times the slowest iteration so far is waited for (of "
        "the first, which may compile, 3 times), and at least 5 minutes. Checkpoints do not count. "
        "0 waits for ever.",
    )
    gradient_checkpointing: bool = Field(
        default=True,
        description="Recompute activations in the backward pass: less memory, about a third more "
        "time.",
    )
    compile: bool = Field(
        default=False,
        description="Let torch compile the networks' blocks: fewer, larger kernels. The first "
        "iteration takes minutes longer.",
    )
    attention: AttentionKernels = Field(
        default="auto",
        description="Kernels of attention on GPUs. torch is PyTorch's own FlashAttention 2; "
        "flash-4 is FlashAttention 4, twice as fast, for Hopper and Blackwell (compute capability "
        "9.x and 10.x) computing in bf16; auto takes flash-4 where it can be had and gives right "
        "gradients. The gradients of attention without a mask are tried before the run begins. "
        "With a mask (SANA's text) attention is PyTorch's in any case.",
    )
    shared_roll_out: bool = Field(
        default=True,
        description="Let the fake score and the student learn from the same samples in an "
        "iteration, which saves about an eighth of its work and costs no quality that was "
        "measured. false gives each update samples of its own.",
    )
    ema: EmaConfig = Field(
        default_factory=EmaConfig, description="Moving average of the student's weights."
    )
    seed: int = Field(
        default=0,
        ge=0,
        le=2**31 - 1,
        description="Seed of every random number of the run.",
    )

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.iterations is not None and self.images is not None:
            raise ValueError("training.iterations and training.images are both set: remove one")
        return self

    def with_rates(self) -> Self:
        """The same with both learning rates written down."""
        rates = {"learning_rate": self.student_rate, "fake_learning_rate": self.fake_rate}
        return self.model_copy(update=rates)

    @property
    def student_rate(self) -> float:
        """Adam learning rate of the student, given or by precision."""
        return self.learning_rate or DEFAULT_RATES[self.precision]

    @property
    def fake_rate(self) -> float:
        """Adam learning rate of the fake score network."""
        return self.fake_learning_rate or self.student_rate

    @property
    def total_iterations(self) -> int:
        """Length of the run in iterations, however it was given."""
        if self.iterations is not None:
            return self.iterations
        return math.ceil((self.images or DEFAULT_IMAGES) / self.batch_size)
