"""Judges a student beside its teacher: samples both with stock pipelines and scores the samples.

Sample counts, labels, seeds and the feature extractor are fixed, so numbers of different students
of one teacher compare.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, StableDiffusion3Pipeline

from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.digits import gate
from sid_trainer.digits.data import digits
from sid_trainer.digits.extractor import trained_extractor
from sid_trainer.digits.frechet import frechet_distance
from sid_trainer.digits.gate import Sampler, Score
from sid_trainer.digits.sampling import balanced_labels, sample

SAMPLES = 2000
_SEED = 7


class Judge:
    """Scores samples against the 1,797 real digits, and against the teacher's first samples."""

    def __init__(self) -> None:
        self._extractor = trained_extractor()
        self._real = self._extractor.features(digits()[0])
        self._teacher: torch.Tensor | None = None

    def score(self, images: torch.Tensor, labels: torch.Tensor) -> Score:
        """Score images ``[N, 3, 8, 8]`` in [-1, 1]; the first call sets the teacher's samples."""
        features = self._extractor.features(images)
        if self._teacher is None:
            self._teacher = features
        hits = self._extractor(images).argmax(1) == labels
        return Score(
            fd=frechet_distance(features, self._real),
            fd_teacher=frechet_distance(features, self._teacher),
            accuracy=float(hits.float().mean()),
        )


def evaluate(
    teacher: Path, student: Path, *, samples: int = SAMPLES
) -> Iterator[tuple[Sampler, Score, torch.Tensor]]:
    """Yield each sampler of ``gate.ALL``, its score and its samples ``[N, 3, 8, 8]``, as made.

    Raises:
        TrainerError: when a directory holds no pipeline.
    """
    judge, labels = Judge(), balanced_labels(samples)
    teacher_pipeline, student_pipeline = load(teacher), load(student)
    for sampler in gate.ALL:
        pipeline = _pipeline_of(sampler, teacher_pipeline, student_pipeline)
        images = sample(pipeline, labels, steps=sampler.steps, seed=_SEED)
        yield sampler, judge.score(images, labels), images


def load(directory: Path) -> StableDiffusion3Pipeline:
    """Load a pipeline directory with the stock class, in fp32 and without progress bars."""
    if not (directory / "model_index.json").is_file():
        raise TrainerError(
            FailureReason.NOT_FOUND,
            f"{directory} holds no model_index.json: give the directory of a diffusers pipeline",
        )
    pipeline = StableDiffusion3Pipeline.from_pretrained(
        directory, dtype=torch.float32, local_files_only=True
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _pipeline_of(
    sampler: Sampler, teacher: StableDiffusion3Pipeline, student: StableDiffusion3Pipeline
) -> StableDiffusion3Pipeline:
    """The pipeline that makes a sampler's samples."""
    if sampler.network == "teacher":
        return teacher
    transformer = (teacher if sampler.network == "untrained" else student).transformer
    config = student.scheduler.config
    if sampler.steps == 1:  # one step ends where it begins: there is no terminal level to shift to
        config = {**config, "shift_terminal": None}
    pipeline = StableDiffusion3Pipeline(
        **{
            **student.components,
            "transformer": transformer,
            "scheduler": FlowMatchEulerDiscreteScheduler.from_config(config),
        }
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
