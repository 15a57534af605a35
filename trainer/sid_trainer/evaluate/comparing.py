"""What makes two values of a metric comparable: pure.

Rules this module keeps:

* A metric depends on the samples and on its own judge, and on nothing else: to measure another
  metric as well, or no longer, takes nothing away from what was measured before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sid_trainer.config import MetricsConfig
from sid_trainer.evaluate.kept import digest


def bases(
    metrics: MetricsConfig, extractor: str, student: Sequence[Any], teacher: Sequence[Any]
) -> dict[str, str]:
    """By the name of each metric that is measured, a digest of all that it depends on.

    Args:
        metrics: which are measured, and how.
        extractor: digest of the file that features are taken with.
        student: what the student's samples depend on, besides its weights.
        teacher: what the teacher's samples depend on.
    """
    facts: dict[str, list[Any]] = {}
    if (fid := metrics.fid) is not None:
        if fid.images is not None:
            facts["fid"] = [extractor, fid.image_size, fid.images.uri]
        if fid.teacher:
            facts["fidTeacher"] = [extractor, fid.image_size, *teacher]
    if metrics.clip_score is not None:
        facts["clipScore"] = [metrics.clip_score.model]
    if metrics.preference is not None:
        facts["preferenceScore"] = [metrics.preference.model]
    return {name: digest(list(student), name, own) for name, own in facts.items()}
