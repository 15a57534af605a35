"""The guidance scales of a run: which kappa each score network is evaluated with.

Three kappas: for training the fake score, for evaluating it in the student's loss, and for the
teacher there; and the one that the teacher is sampled with beside the student. What they do stands
in :mod:`sid_trainer.method.guidance`. Sources: LSG arXiv 2406.01561; Zero-CFG and Anti-CFG arXiv
2505.12674. No torch: the memory arithmetic reads them, too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sid_trainer.config import GuidanceConfig, TeacherSamplingConfig


@dataclass(frozen=True)
class GuidanceScales:
    """The three kappas of a strategy."""

    fake_training: float
    fake: float
    teacher: float


def guidance_scales(guidance: GuidanceConfig) -> GuidanceScales:
    """Kappas of the configured strategy, but for those that are given one by one."""
    match guidance.strategy:
        case "LSG":
            scales = GuidanceScales(guidance.scale, guidance.scale, guidance.scale)
        case "ZeroCFG":
            scales = GuidanceScales(fake_training=0.0, fake=0.0, teacher=1.0)
        case "AntiCFG":
            scales = GuidanceScales(-guidance.scale, -guidance.scale, teacher=1.0)
    given = {
        "fake_training": guidance.fake_training_scale,
        "fake": guidance.fake_scale,
        "teacher": guidance.teacher_scale,
    }
    return replace(scales, **{name: kappa for name, kappa in given.items() if kappa is not None})


def sampling_scale(teacher: TeacherSamplingConfig, guidance: GuidanceConfig) -> float:
    """Kappa that the teacher is sampled with: the given one, or one that guides it.

    A strategy that leaves the teacher unguided in the loss tells nothing of how it is used:
    AntiCFG's ``scale`` is the fake score's.

    Args:
        teacher: how it is sampled.
        guidance: of training.
    """
    if teacher.guidance is not None:
        return teacher.guidance
    if guidance.teacher_scale is not None and guidance.teacher_scale > 1:
        return guidance.teacher_scale
    return guidance.scale if guidance.strategy == "LSG" else GuidanceConfig().scale
