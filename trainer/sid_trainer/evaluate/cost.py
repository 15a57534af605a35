"""Whether a run measures its teacher, and what that costs beside training. Pure."""

from __future__ import annotations

from sid_trainer.config import RunConfig

FORWARDS_AN_IMAGE = 20
"""Forwards of one network that an image of a batch costs in training, about."""
TEACHERS_SHARE = 0.1
"""Of the work of training: what measuring the teacher costs at most where nothing is said."""


def teacher_forwards(config: RunConfig) -> int:
    """Forwards that the teacher's samples take, once a run; guidance takes two a step at most."""
    evaluation = config.evaluation
    samples = evaluation.metrics.samples if evaluation.metrics is not None else 0
    return 2 * samples * evaluation.teacher.steps


def training_forwards(config: RunConfig) -> int:
    """Forwards that training takes, about, its backward passes counted as such."""
    training = config.training
    return FORWARDS_AN_IMAGE * training.total_iterations * training.batch_size


def is_cheap(config: RunConfig) -> bool:
    """Whether the teacher's samples cost little beside training."""
    return teacher_forwards(config) <= TEACHERS_SHARE * training_forwards(config)


def measures_teacher(config: RunConfig) -> bool:
    """Whether the teacher is measured as the student is; see ``evaluation.metrics.teacher``."""
    metrics = config.evaluation.metrics
    if metrics is None or config.evaluation.teacher.steps == 0:
        return False
    if metrics.teacher is not None:
        return metrics.teacher
    if metrics.fid is None or metrics.fid.images is None:
        return False
    return metrics.fid.teacher or is_cheap(config)
