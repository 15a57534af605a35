"""The evaluations of a run, of all its attempts, as one small file in its storage.

Rules this module keeps:

* An evaluation belongs to an iteration: measured again after a resume, it replaces the earlier one.
* Only values of one basis are compared with one another: a distance in other features, or of fewer
  images, is another number. What else was measured beside it does not matter.
* A metric is a finite number, or it is absent: null, which JSON has for NaN, is read as absent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from sid_trainer.config import Metric
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.report.metric_names import TEACHERS, lower_is_better
from sid_trainer.storage import Storage

KEY = "metrics/evaluations.json"


def _without_nulls(found: Any) -> Any:
    if not isinstance(found, dict):
        return found
    return {name: value for name, value in found.items() if value is not None}


Metrics = Annotated[dict[str, float], BeforeValidator(_without_nulls)]
"""Values by name."""


class Speed(BaseModel):
    """Seconds for the same latents, text encoding and decoding apart.

    Both networks are partitioned as in training, so both times hold the same gathering of weights.
    """

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)

    device: str
    ranks: int
    images: int
    """Images that a rank made."""
    teacher_steps: int
    teacher_guidance: float
    teacher_seconds: float
    student_steps: int
    student_seconds: float

    @property
    def factor(self) -> float:
        """How many times faster the student is."""
        return self.teacher_seconds / self.student_seconds


class _Document(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)


class Evaluation(_Document):
    """The averaged student after some iterations.

    Attributes:
        settings: digest of all that it depends on.
        bases: the same of each metric alone (:mod:`sid_trainer.evaluate.comparing`); a record from
            before there were any has none.
    """

    iteration: int
    images: int
    settings: str
    metrics: Metrics
    seconds: float
    bases: dict[str, str] = {}

    def comparable(self, other: Evaluation, metric: str) -> bool:
        """Whether a metric was measured alike in both."""
        return _alike(metric, (self.settings, self.bases), (other.settings, other.bases))


class Records(_Document):
    """All evaluations, in order of their iterations."""

    evaluations: tuple[Evaluation, ...] = ()
    best: int | None = None
    """Iteration of the student in ``student-best/``."""
    speed: Speed | None = None
    teacher: Metrics = {}
    """The teacher's own metrics, by the names of the student's."""

    @classmethod
    def load(cls, storage: Storage) -> Records:
        """Those of the run so far.

        Raises:
            TrainerError: ``InvalidData`` when the file is not one of ours.
        """
        if not storage.exists(KEY):
            return cls()
        try:
            return cls.model_validate_json(storage.get_bytes(KEY))
        except ValidationError as error:
            raise TrainerError(
                FailureReason.INVALID_DATA,
                f"{storage.uri(KEY)} holds no evaluations ({error.error_count()} errors): put back "
                "what was there, or remove it, and the run goes on without its earlier ones",
            ) from error

    def save(self, storage: Storage) -> None:
        """Replace the stored ones."""
        data = self.model_dump_json(by_alias=True, indent=2).encode()
        storage.put_bytes(KEY, data, "application/json")

    def with_evaluation(self, evaluation: Evaluation) -> Records:
        """These and one more, in place of an earlier one of the same iteration."""
        others = [other for other in self.evaluations if other.iteration != evaluation.iteration]
        ordered = sorted([*others, evaluation], key=lambda each: each.iteration)
        return self.model_copy(update={"evaluations": tuple(ordered)})

    def until(self, iteration: int) -> Records:
        """Those of a training that goes on from some iterations.

        What is later was measured of a student that is trained anew. A training that begins finds
        none of its own, not even of the start: its settings may be others.
        """
        own = tuple(each for each in self.evaluations if iteration and each.iteration <= iteration)
        best = self.best if self.best in [each.iteration for each in own] else None
        return self.model_copy(update={"evaluations": own, "best": best})

    def at(self, iteration: int, settings: str) -> Evaluation | None:
        """The evaluation after some iterations, if it was made under these settings."""
        return next(
            (e for e in self.evaluations if (e.iteration, e.settings) == (iteration, settings)),
            None,
        )

    @property
    def beside(self) -> dict[str, float]:
        """The teacher's metrics by names of their own."""
        return {TEACHERS[name]: value for name, value in self.teacher.items()}

    @property
    def latest(self) -> Mapping[str, float]:
        """Metrics of the last evaluation."""
        return self.evaluations[-1].metrics if self.evaluations else {}


def _alike(metric: str, one: tuple[str, dict[str, str]], other: tuple[str, dict[str, str]]) -> bool:
    (settings, bases), (other_settings, other_bases) = one, other
    if metric in bases and metric in other_bases:
        return bases[metric] == other_bases[metric]
    return settings == other_settings


@dataclass(frozen=True)
class Best:
    """Which evaluation counts as the best one.

    Attributes:
        metric: by which.
        settings: as evaluations that count have them (:class:`Evaluation`).
        bases: likewise.
    """

    metric: Metric
    settings: str
    bases: dict[str, str] = field(default_factory=dict)

    @classmethod
    def like(cls, metric: Metric, evaluation: Evaluation) -> Best:
        """Of those that are comparable with an evaluation."""
        return cls(metric, evaluation.settings, evaluation.bases)

    def of(self, records: Records) -> Evaluation | None:
        """The best comparable evaluation, the earliest of equals."""
        return next(iter(self.ranked(records)), None)

    def ranked(self, records: Records) -> list[Evaluation]:
        """All comparable evaluations, the best first, the earlier of equals before."""
        sign = 1 if lower_is_better(self.metric) else -1
        own = (self.settings, self.bases)
        candidates = [
            evaluation
            for evaluation in records.evaluations
            if _alike(self.metric, own, (evaluation.settings, evaluation.bases))
            and math.isfinite(evaluation.metrics.get(self.metric, math.nan))
        ]
        return sorted(candidates, key=lambda each: sign * each.metrics[self.metric])
