"""The whole of a run, and the rules that hold between its sections."""

from __future__ import annotations

import math
from typing import Annotated, Self

from pydantic import Field, model_validator
from pydantic.alias_generators import to_camel

from sid_trainer.config.base import Section
from sid_trainer.config.checkpoint import CheckpointConfig
from sid_trainer.config.data import DataConfig
from sid_trainer.config.deepspeed import DeepSpeedConfig
from sid_trainer.config.distillation import DistillationConfig
from sid_trainer.config.evaluation import EvaluationConfig
from sid_trainer.config.launch import LaunchConfig, StorageConfig
from sid_trainer.config.student import StudentConfig
from sid_trainer.config.teacher import TeacherConfig
from sid_trainer.config.training import TrainingConfig


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
        default_factory=TrainingConfig, description="Length, batch and optimizer of the run."
    )
    deepspeed: DeepSpeedConfig = Field(
        default_factory=DeepSpeedConfig, description="DeepSpeed settings."
    )
    evaluation: EvaluationConfig = Field(
        default_factory=EvaluationConfig, description="How the student is judged."
    )

    @model_validator(mode="after")
    def _data_aided_training_begins(self) -> Self:
        adversarial = self.distillation.adversarial
        if adversarial is None:
            if self.data.images is not None:
                raise ValueError(
                    "data.images is read by data-aided training alone: add "
                    "distillation.adversarial ({} has its defaults), or remove data.images for "
                    "data-free training"
                )
            return self
        if self.data.images is None:
            raise ValueError(
                "distillation.adversarial needs real images: give data.images, or remove it for "
                "data-free training"
            )
        length = self.training.total_iterations * self.training.batch_size
        for name in ("student_starts_after_images", "starts_after_images"):
            after = getattr(adversarial, name)
            if after >= length:
                raise ValueError(
                    f"distillation.adversarial.{to_camel(name)} {after} is not before the end of "
                    f"the run at {length} images: lower it, or raise training.iterations or "
                    "training.images"
                )
        return self


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

    @model_validator(mode="after")
    def _measured_students_have_checkpoints(self) -> Self:
        metrics, every = self.evaluation.metrics, self.checkpoint.every_iterations
        measured = metrics.every_iterations if metrics is not None and metrics.best else None
        if self.checkpoint.keep_best and (measured is None or measured % every):
            raise ValueError(
                f"checkpoint.keepBest {self.checkpoint.keep_best} keeps checkpoints of measured "
                "students: give evaluation.metrics.best, and evaluation.metrics.everyIterations "
                f"as a multiple of checkpoint.everyIterations ({every})"
            )
        return self

    @model_validator(mode="after")
    def _offload_has_fp32_weights(self) -> Self:
        if self.training.precision == "pure-bf16" and self.deepspeed.offload != "none":
            raise ValueError(
                f"deepspeed.offload {self.deepspeed.offload} does not go with training.precision "
                "pure-bf16: use bf16, whose fp32 weights are then in host memory, or offload none"
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

    @property
    def graph_waits(self) -> bool:
        """Whether the graph of the student's roll-out waits while the fake score is updated."""
        return self.training.shared_roll_out and self.accumulation_steps == 1
