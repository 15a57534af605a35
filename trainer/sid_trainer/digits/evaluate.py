"""Judges a student beside its teacher: samples both with stock pipelines and scores the samples.

Sample counts, labels, seeds and the feature extractor are fixed, so numbers of different students
of one teacher compare.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from sid_trainer.digits import gate
from sid_trainer.digits.data import digits
from sid_trainer.digits.extractor import trained_extractor
from sid_trainer.digits.families import family_of
from sid_trainer.digits.gate import Sampler, Score
from sid_trainer.digits.sampling import balanced_labels, sample
from sid_trainer.evaluate.statistics import FeatureStatistics, fitted, frechet_distance
from sid_trainer.method.fixed_noise_scheduler import FixedNoiseScheduler
from sid_trainer.method.sampler import OWN_SCHEDULER

SAMPLES = 2000
_SEED = 7


class Judge:
    """Scores samples against the 1,797 real digits, and against the teacher's first samples."""

    def __init__(self) -> None:
        self._extractor = trained_extractor()
        self._real = fitted(self._extractor.features(digits()[0]))
        self._teacher: FeatureStatistics | None = None

    def score(self, images: torch.Tensor, labels: torch.Tensor) -> Score:
        """Score images ``[N, 3, 8, 8]`` in [-1, 1]; the first call sets the teacher's samples."""
        features = fitted(self._extractor.features(images))
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
        TrainerError: when a directory holds no pipeline of a family of digits teachers.
    """
    judge, labels = Judge(), balanced_labels(samples)
    family = family_of(teacher)
    teacher_pipeline, student_pipeline = load(teacher), load(student)
    for sampler in gate.ALL:
        pipeline = _pipeline_of(sampler, teacher_pipeline, student_pipeline)
        images = sample(family, pipeline, labels, steps=sampler.steps, seed=_SEED)
        yield sampler, judge.score(images, labels), images


def load(directory: Path) -> Any:
    """Load a pipeline directory with the stock class, in fp32 and without progress bars.

    A student that brings a scheduler has it in place.

    Raises:
        TrainerError: as :func:`family_of`.
    """
    stock = family_of(directory).pipeline_class
    pipeline = stock.from_pretrained(directory, dtype=torch.float32, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    if (directory / OWN_SCHEDULER).is_file():
        pipeline.scheduler = FixedNoiseScheduler.from_config(pipeline.scheduler.config)
    return pipeline


def _pipeline_of(sampler: Sampler, teacher: Any, student: Any) -> Any:
    """The pipeline that makes a sampler's samples."""
    if sampler.network == "teacher":
        return teacher
    transformer = (teacher if sampler.network == "untrained" else student).transformer
    config = student.scheduler.config
    if sampler.steps == 1:  # one step ends where it begins: there is no terminal level to shift to
        config = {**config, "shift_terminal": None}
    scheduler = type(student.scheduler).from_config(config)
    parts = {**student.components, "transformer": transformer, "scheduler": scheduler}
    pipeline = type(student)(**parts)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
