"""What makes two values of a metric comparable: pure.

Rules this module keeps:

* A metric depends on the samples and on its own judge, and on nothing else: to measure another
  metric as well, or no longer, takes nothing away from what was measured before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sid_trainer.config import MetricsConfig, ScoreModelConfig
from sid_trainer.evaluate.kept import digest


def bases(
    metrics: MetricsConfig, compared: Sequence[str], student: Sequence[Any], teacher: Sequence[Any]
) -> dict[str, str]:
    """By the name of each metric that is measured, a digest of all that it depends on.

    Args:
        metrics: which are measured, and how.
        compared: digests of the file that features are taken with, and of the user's images.
        student: what the student's samples depend on, besides its weights.
        teacher: what the teacher's samples depend on.
    """
    facts: dict[str, list[Any]] = {}
    extractor, images = compared
    if (fid := metrics.fid) is not None:
        if fid.images is not None:
            facts["fid"] = [extractor, fid.image_size, images]
        if fid.teacher:
            facts["fidTeacher"] = [extractor, fid.image_size, *teacher]
    if metrics.clip_score is not None:
        facts["clipScore"] = scorer_facts(metrics.clip_score)
    if metrics.preference is not None:
        facts["preferenceScore"] = scorer_facts(metrics.preference)
    return {name: digest(list(student), name, own) for name, own in facts.items()}


def scorer_facts(scorer: ScoreModelConfig) -> list[Any]:
    """Which model gives scores; one of the Hub has its commit for a revision by then."""
    return [scorer.model, scorer.revision]
