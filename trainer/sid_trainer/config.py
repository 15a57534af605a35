"""The configuration of a run: the one model that the trainer and the operator share.

Rules this module keeps:

* It imports pydantic and nothing else, so that the operator can use it without torch.
* Field names are camelCase in files and snake_case in Python; unknown fields are refused.
* Every field has a description, which becomes the text of ``kubectl explain``, and a default
  unless there is no good one.
* A setting stands here only when the trainer obeys it.

The operator's resource spec is built from the section models below; the operator renders a
:class:`RunConfig` into the ConfigMap, and the pod reads that file and nothing else.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

Family = Literal["sd3", "sana", "sana-sprint", "flux"]
NoiseMode = Literal["fresh", "fixed", "ddim"]
Weighting = Literal[
    "one-minus-sigma",
    "one-minus-sigma-squared",
    "inverse-sigma",
    "inverse-sigma-squared",
    "sqrt-snr",
    "snr",
    "sid",
]
GuidanceStrategy = Literal["LSG", "ZeroCFG", "AntiCFG"]
Precision = Literal["fp32", "bf16"]

DEFAULT_IMAGES = 500_000
"""Length of a run, in generated images, when neither iterations nor images is given."""


class Section(BaseModel):
    """A part of the configuration: camelCase in files, immutable, no unknown fields."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        # A misspelt number ("4x") must not be guessed at, but 1 for 1.0 is fine.
        strict=False,
    )


class TeacherConfig(Section):
    """The text-to-image model to distil. It is never changed."""

    model: Annotated[str, Field(min_length=1, max_length=512)] = Field(
        description="Where the teacher's diffusers pipeline is: a Hugging Face id "
        '("stabilityai/stable-diffusion-3.5-medium"), "s3://bucket/key", or a path on a mounted '
        "volume."
    )
    family: Family | None = Field(
        default=None,
        description="Architecture of the teacher. Found from the pipeline's model_index.json when "
        "not given. sd3 covers SD3-Medium, SD3.5-Medium and SD3.5-Large; sana SANA, SANA-1.5 and "
        "all else that is a SanaPipeline; sana-sprint a SanaSprintPipeline, or a SanaPipeline that "
        "takes time in [0, 1]; flux FLUX.1-dev.",
    )
    revision: Annotated[str, Field(min_length=1, max_length=128)] | None = Field(
        default=None,
        description="Git revision of a Hugging Face model; a commit hash makes the run repeatable. "
        "Not used for s3:// and paths.",
    )


class StudentConfig(Section):
    """The few-step generator that the run produces."""

    steps: int = Field(
        default=4,
        ge=1,
        le=8,
        description="Denoising steps K of the student. The noise levels are 1 - i/K.",
    )
    noise: NoiseMode = Field(
        default="fresh",
        description="Noise between two steps: fresh draws it anew, fixed reuses the first, ddim "
        "takes the noise that the step implies (deterministic).",
    )
    init_from: Annotated[str, Field(min_length=1, max_length=512)] | None = Field(
        default=None,
        description="An earlier student (same values as teacher.model) to start the student "
        "from. By default it starts as a copy of the teacher.",
    )


class GuidanceConfig(Section):
    """Classifier-free guidance while training; the student itself runs without."""

    strategy: GuidanceStrategy = Field(
        default="LSG",
        description="LSG guides teacher and fake score alike by scale. ZeroCFG leaves the teacher "
        "unguided and gives the fake score no text. AntiCFG leaves the teacher unguided and guides "
        "the fake score by -scale.",
    )
    scale: float = Field(
        default=4.5,
        ge=0.0,
        le=30.0,
        description="Guidance scale of the strategy; 1 means no guidance. Not used by ZeroCFG. "
        "Networks that take the scale as an input (FLUX.1-dev, SANA-Sprint) are given it there, in "
        "one forward; the student is given 1.",
    )


class DistillationConfig(Section):
    """The score identity distillation loss."""

    alpha: float = Field(
        default=1.0,
        ge=0.0,
        le=2.0,
        description="Weight alpha of the correction term of the loss. 1 is the SiD-DiT default.",
    )
    weighting: Weighting = Field(
        default="one-minus-sigma",
        description="Weight of the generator loss over the noise level sigma: one-minus-sigma is "
        "1-s, one-minus-sigma-squared (1-s)^2, inverse-sigma 1/s, inverse-sigma-squared 1/s^2, "
        "sqrt-snr (1-s)/s, snr ((1-s)/s)^2, and sid is 1/mean|x - f_T|.",
    )
    guidance: GuidanceConfig = Field(
        default_factory=GuidanceConfig,
        description="Classifier-free guidance of teacher and fake score while training.",
    )


class PromptsConfig(Section):
    """The prompts that the student is trained on; no images are needed."""

    uri: Annotated[str, Field(min_length=1, max_length=1024)] = Field(
        description="A UTF-8 text file, one prompt a line: s3://bucket/key, or a path on a mounted "
        "volume."
    )


class DataConfig(Section):
    """What the student is trained on."""

    prompts: PromptsConfig = Field(description="The training prompts.")
    resolution: int | None = Field(
        default=None,
        ge=8,
        le=4096,
        description="Height and width of the images in pixels. Default: the teacher's own.",
    )


class EmaConfig(Section):
    """Exponential moving average of the student's weights."""

    half_life_images: int = Field(
        default=10_000,
        ge=0,
        description="Images after which a weight counts half. 0 turns the average off. The "
        "average is what is sampled from and exported.",
    )


class TrainingConfig(Section):
    """Length, batch and optimiser of the run."""

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
    learning_rate: float = Field(
        default=2e-6, gt=0.0, le=1.0, description="Adam learning rate of the student."
    )
    fake_learning_rate: float | None = Field(
        default=None,
        gt=0.0,
        le=1.0,
        description="Adam learning rate of the fake score network. Default: learningRate.",
    )
    precision: Precision = Field(
        default="bf16",
        description="bf16 computes in bfloat16 with fp32 master weights; fp32 computes in fp32.",
    )
    gradient_checkpointing: bool = Field(
        default=True,
        description="Recompute activations in the backward pass: less memory, about a third more "
        "time.",
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

    @property
    def total_iterations(self) -> int:
        """Length of the run in iterations, however it was given."""
        if self.iterations is not None:
            return self.iterations
        return math.ceil((self.images or DEFAULT_IMAGES) / self.batch_size)


class DeepSpeedConfig(Section):
    """DeepSpeed settings."""

    zero_stage: Literal[3] = Field(
        default=3,
        description="ZeRO stage. All three networks are partitioned over all GPUs (stage 3).",
    )
    config: dict[str, Any] = Field(
        default_factory=dict,
        description="DeepSpeed JSON settings laid over the generated ones, for both trained "
        "networks, for instance {zero_optimization: {reduce_bucket_size: 100000000}}. Batch "
        "sizes, precision, optimizer and ZeRO stage have fields of their own and are refused here.",
    )


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


class EvaluationConfig(Section):
    """Sample pictures made while training."""

    every_iterations: int = Field(
        default=500,
        ge=1,
        le=1_000_000,
        description="Iterations between two sample grids. One more is made at the end.",
    )
    prompts: (
        Annotated[list[Annotated[str, Field(max_length=2_000)]], Field(min_length=1, max_length=64)]
        | None
    ) = Field(
        default=None,
        description="Prompts of the sample grid. Default: the first 16 different training prompts.",
    )
    seed: int = Field(
        default=0, ge=0, le=2**31 - 1, description="Seed of the sample grid, equal in every grid."
    )


class TrainerSections(Section):
    """The sections that the resource's spec and the trainer's file have in common."""

    student: StudentConfig = Field(
        default_factory=StudentConfig, description="The few-step generator to produce."
    )
    distillation: DistillationConfig = Field(
        default_factory=DistillationConfig, description="The score identity distillation loss."
    )
    data: DataConfig = Field(description="What the student is trained on.")
    training: TrainingConfig = Field(
        default_factory=TrainingConfig, description="Length, batch and optimiser of the run."
    )
    deepspeed: DeepSpeedConfig = Field(
        default_factory=DeepSpeedConfig, description="DeepSpeed settings."
    )
    evaluation: EvaluationConfig = Field(
        default_factory=EvaluationConfig, description="Sample pictures made while training."
    )


class StorageConfig(Section):
    """Where checkpoints, samples, metrics and the student are written.

    Credentials never stand here: they come from the environment (``AWS_ACCESS_KEY_ID``,
    ``AWS_SECRET_ACCESS_KEY``, ``AWS_SESSION_TOKEN``).
    """

    uri: Annotated[str, Field(min_length=1, max_length=1024)] = Field(
        description="Folder of the run: s3://bucket/prefix or file:///path."
    )
    endpoint: Annotated[str, Field(pattern=r"^https?://[^/\s]+/?$", max_length=512)] | None = Field(
        default=None,
        description="URL of the S3 endpoint (http://minio.minio:9000), used for every s3:// value "
        "of the file. Default: AWS.",
    )

    @model_validator(mode="after")
    def _known_scheme(self) -> Self:
        if urlsplit(self.uri).scheme not in ("s3", "file"):
            raise ValueError(
                f"storage.uri {self.uri!r} is neither s3:// nor file://: give s3://bucket/prefix "
                "or file:///path"
            )
        return self


class LaunchConfig(Section):
    """How the processes of a run find each other. The defaults are one process on this machine."""

    nodes: int = Field(default=1, ge=1, le=1024, description="Number of nodes (pods).")
    processes_per_node: int = Field(
        default=1, ge=1, le=64, description="Training processes a node: one a GPU, or one on CPU."
    )
    device: Literal["cuda", "cpu"] = Field(
        default="cuda", description="cuda trains on GPUs over NCCL, cpu on the CPU over gloo."
    )
    rendezvous_host: str = Field(
        default="127.0.0.1", description="Host of node 0, where the others meet."
    )
    rendezvous_port: int = Field(default=29500, ge=1024, le=65535, description="Port there.")
    progress_host: str = Field(
        default="127.0.0.1", description="Address on which rank 0 serves its progress."
    )
    progress_port: int = Field(default=9400, ge=0, le=65535, description="Port there; 0 = none.")

    @property
    def world_size(self) -> int:
        """Number of training processes."""
        return self.nodes * self.processes_per_node


class RunConfig(TrainerSections):
    """Everything the trainer needs to know of a run, as it stands in the file given by --config."""

    name: Annotated[str, Field(min_length=1, max_length=253)] = Field(
        default="run", description="Name of the run, for logs and the model card."
    )
    teacher: TeacherConfig = Field(description="The text-to-image model to distil.")
    storage: StorageConfig = Field(description="Where the run writes.")
    checkpoint: CheckpointConfig = Field(
        default_factory=CheckpointConfig, description="When state is saved."
    )
    launch: LaunchConfig = Field(
        default_factory=LaunchConfig, description="How the processes find each other."
    )

    @model_validator(mode="after")
    def _batch_divides(self) -> Self:
        world, batch = self.launch.world_size, self.training.batch_size
        if batch % world:
            raise ValueError(
                f"training.batchSize {batch} is not a multiple of the {world} training processes: "
                f"use {math.ceil(batch / world) * world}"
            )
        micro = self.training.micro_batch_size or batch // world
        if (batch // world) % micro:
            raise ValueError(
                f"training.microBatchSize {micro} does not divide the {batch // world} images that "
                "each process has of training.batchSize: use a divisor of it"
            )
        return self

    @property
    def micro_batch_size(self) -> int:
        """Images that one process computes at a time."""
        return self.training.micro_batch_size or self.training.batch_size // self.launch.world_size

    @property
    def accumulation_steps(self) -> int:
        """Micro-batches a process in one iteration."""
        return self.training.batch_size // (self.launch.world_size * self.micro_batch_size)
