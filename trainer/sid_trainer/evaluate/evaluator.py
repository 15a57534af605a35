"""Measures the averaged student: all ranks sample captions, and judges look at the pictures.

Rules this module keeps:

* Distances are computed on rank 0; every rank is told the results.
* It takes minutes, so it can be given up on the way: on all ranks at the same place.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import astuple, dataclass
from functools import cached_property
from typing import Any

from sid_trainer.config import MetricsConfig, RunConfig
from sid_trainer.data.encoding import Encode, encode_each
from sid_trainer.evaluate.comparing import bases
from sid_trainer.evaluate.finite import finite
from sid_trainer.evaluate.judges import JudgeModels, Panel
from sid_trainer.evaluate.kept import digest
from sid_trainer.evaluate.pixels import decoded
from sid_trainer.evaluate.ranks import Ranks
from sid_trainer.evaluate.sampling import Draw, Sampling
from sid_trainer.evaluate.shares import chunks
from sid_trainer.evaluate.statistics import frechet_distance
from sid_trainer.evaluate.yardsticks import Yardsticks
from sid_trainer.method.conditions import Condition
from sid_trainer.process.group import from_first


class MeasurementGivenUpError(Exception):
    """A measurement was given up, on all ranks."""


def never() -> bool:
    """Go on to the end."""
    return False


@dataclass(frozen=True)
class Measured:
    """An evaluation's result, on every rank.

    Attributes:
        metrics: by name, as in the resource's status.
        seconds: how long it took.
    """

    metrics: dict[str, float]
    seconds: float


@dataclass(frozen=True)
class _Sampler:
    """How the teacher is sampled."""

    steps: int
    guidance: float
    seed: int


@dataclass(frozen=True)
class _SampleFacts:
    """What the teacher's samples depend on, and their features.

    Digests of it name what is kept in storage: another order or shape would measure anew.

    Attributes:
        teacher: which it is exactly, precision.
        sampler: of the teacher.
        samples: how many, a digest of the captions, resolution in pixels.
        features: digest of the judges' models, side of the images that the extractor sees.
    """

    teacher: tuple[str, str]
    sampler: _Sampler
    samples: tuple[int, str, int]
    features: tuple[str, int | None]


class Evaluator:
    """Measures the student as often as it is asked to; all its methods are collectives.

    Args:
        config: the run.
        metrics: its ``evaluation.metrics``.
        models: the judges.
        sampling: draws samples of student and teacher.
        captions: what is sampled, in turn.
        encode: the text encoders.
        ranks: who samples.
    """

    def __init__(
        self,
        config: RunConfig,
        metrics: MetricsConfig,
        models: JudgeModels,
        sampling: Sampling,
        captions: Sequence[str],
        encode: Encode,
        ranks: Ranks,
    ) -> None:
        self._config, self._metrics, self._models = config, metrics, models
        self._sampling, self._captions, self._encode = sampling, captions, encode
        self._ranks = ranks
        self._yardsticks = Yardsticks(
            config,
            metrics,
            models,
            self._resolution,
            digest(astuple(self._sample_facts)),
            lambda: self._judged(sampling.teacher()),
            ranks,
        )

    @property
    def teacher(self) -> dict[str, float]:
        """The teacher's metrics by the names of the student's, once :meth:`prepare` measured it."""
        return self._yardsticks.teacher

    @cached_property
    def settings(self) -> str:
        """Digest of all that an evaluation depends on, once :meth:`prepare` was called.

        An evaluation of an equal one need not be made again.
        """
        return digest(astuple(self._sample_facts), self._judge_facts, self._yardsticks.images)

    @cached_property
    def bases(self) -> dict[str, str]:
        """Digest, by metric, of all that makes two of its values comparable; as above."""
        facts, sampler = self._sample_facts, self._sample_facts.sampler
        student = [facts.teacher, sampler.seed, facts.samples]
        sampled = [sampler.steps, sampler.guidance]
        compared = [self._models.digest, self._yardsticks.images]
        return bases(self._metrics, compared, student, sampled)

    def prepare(self) -> None:
        """Measure what the student is compared with, or take it from the run's storage."""
        self._yardsticks.measure()

    def evaluate(self, stop: Callable[[], bool] = never) -> Measured:
        """Measure the averaged student as it is now.

        Args:
            stop: whether to give up, the same on all ranks; a collective, asked before each chunk.

        Raises:
            MeasurementGivenUpError: when it was given up.
        """
        start = time.monotonic()
        panel = self._judged(self._sampling.student(), stop)
        metrics = from_first(self._ranks.group, lambda: self._results(panel))
        return Measured(metrics, time.monotonic() - start)

    def _judged(
        self, network: AbstractContextManager[Draw], stop: Callable[[], bool] = never
    ) -> Panel:
        """Judges that have seen all ranks' samples of a network."""
        panel, place = self._models.panel(), self._ranks.place
        teacher = self._sampling.distiller.teacher
        given_up = False
        with network as draw:
            for chunk in chunks(self._metrics.samples, place.world_size, place.rank):
                given_up = stop()
                if given_up:
                    break  # an error in here would leave the averaged weights in the student
                captions = [self._captions[i % len(self._captions)] for i in chunk.samples]
                latents = draw(chunk.samples, self._encoded(captions))[: chunk.judged]
                if chunk.judged:
                    panel.add(decoded(teacher, latents), captions[: chunk.judged])
                self._ranks.alive()
        if given_up:
            raise MeasurementGivenUpError
        panel.all_reduce()
        return panel

    def _encoded(self, captions: Sequence[str]) -> Condition:
        rows = encode_each(list(dict.fromkeys(captions)), self._encode)
        return Condition.cat([rows[caption] for caption in captions])

    def _results(self, panel: Panel) -> dict[str, float]:
        """The metrics that are numbers, on rank 0."""
        results = panel.means()
        if panel.features is not None:
            statistics = panel.features.statistics()
            for name, reference in self._yardsticks.references.items():
                if reference is not None:
                    results[name] = frechet_distance(statistics, reference)
        return finite("the student's metrics", results)

    @property
    def _resolution(self) -> int:
        return self._sampling.distiller.teacher.resolution(self._config.data.resolution)

    @property
    def _sample_facts(self) -> _SampleFacts:
        sampling, fid = self._sampling, self._metrics.fid
        return _SampleFacts(
            (sampling.teacher_origin, self._config.training.precision),
            _Sampler(sampling.teacher_steps, sampling.teacher_guidance, sampling.seed),
            (self._metrics.samples, digest(list(self._captions)), self._resolution),
            (self._models.digest, fid.image_size if fid is not None else None),
        )

    @property
    def _judge_facts(self) -> dict[str, Any]:
        """What else the student's metrics depend on."""
        others = {"every_iterations", "best", "teacher"}
        return self._metrics.model_dump(mode="json", exclude=others)
