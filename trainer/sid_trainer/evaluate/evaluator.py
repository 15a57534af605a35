"""Measures the averaged student: all ranks sample captions, and judges look at the pictures.

Rules this module keeps:

* What does not change in a run (statistics of the user's images and of the teacher's samples) is
  measured once, before training.
* Distances are computed on rank 0; every rank is told the results.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sid_trainer.checkpoint.group import ProcessGroup, from_first, together
from sid_trainer.conditions import Condition
from sid_trainer.config import FidConfig, MetricsConfig, RunConfig
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.data.encoding import Encode, encode_each
from sid_trainer.distributed import Place
from sid_trainer.evaluate.judges import JudgeModels, Panel
from sid_trainer.evaluate.kept import Fitted, Kept, digest
from sid_trainer.evaluate.pixels import decoded
from sid_trainer.evaluate.reference import (
    ImageFile,
    add_images,
    has_statistics,
    image_files,
    read_statistics,
)
from sid_trainer.evaluate.sampling import Draw, Sampling
from sid_trainer.evaluate.shares import chunks
from sid_trainer.evaluate.statistics import FeatureStatistics, frechet_distance
from sid_trainer.failures import told_of
from sid_trainer.storage import Storage


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
class Ranks:
    """This rank, all ranks, and the run's folder.

    Attributes:
        place: of this rank.
        group: all of them.
        storage: the run's folder.
        alive: tells that long work goes on.
    """

    place: Place
    group: ProcessGroup
    storage: Storage
    alive: Callable[[], None] = lambda: None


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
        self._kept = Kept(ranks.group, ranks.storage)
        self._references: dict[str, FeatureStatistics | None] = {}

    @cached_property
    def settings(self) -> str:
        """Digest of all that makes two evaluations comparable."""
        return digest(self._sample_facts, self._judge_facts)

    def prepare(self) -> None:
        """Measure what the student is compared with, or take it from the run's storage."""
        fid = self._metrics.fid
        if fid is not None and fid.images is not None:
            with told_of("evaluation.metrics.fid.images.uri"):
                self._references["fid"] = self._image_statistics(fid, fid.images.uri)
        if fid is not None and fid.teacher:
            self._references["fidTeacher"] = self._teacher_statistics()

    def evaluate(self) -> Measured:
        """Measure the averaged student as it is now."""
        start = time.monotonic()
        panel = self._judged(self._sampling.student())
        metrics = from_first(self._ranks.group, lambda: self._results(panel))
        return Measured(metrics, time.monotonic() - start)

    def _judged(self, network: AbstractContextManager[Draw]) -> Panel:
        """Judges that have seen all ranks' samples of a network."""
        panel, place = self._models.panel(), self._ranks.place
        teacher = self._sampling.distiller.teacher
        with network as draw:
            for chunk in chunks(self._metrics.samples, place.world_size, place.rank):
                captions = [self._captions[i % len(self._captions)] for i in chunk.samples]
                latents = draw(chunk.samples, self._encoded(captions))[: chunk.judged]
                if chunk.judged:
                    panel.add(decoded(teacher, latents), captions[: chunk.judged])
                self._ranks.alive()
        panel.all_reduce()
        return panel

    def _encoded(self, captions: Sequence[str]) -> Condition:
        rows = encode_each(list(dict.fromkeys(captions)), self._encode)
        return Condition.cat([rows[caption] for caption in captions])

    def _results(self, panel: Panel) -> dict[str, float]:
        """The metrics, on rank 0."""
        results = panel.means()
        if panel.features is not None:
            statistics = panel.features.statistics()
            for name, reference in self._references.items():
                if reference is not None:
                    results[name] = frechet_distance(statistics, reference)
        return results

    def _image_statistics(self, fid: FidConfig, uri: str) -> FeatureStatistics | None:
        """Of the user's images, on rank 0."""
        endpoint, ranks = self._config.storage.server, self._ranks
        if has_statistics(uri):
            return self._kept.on_first(lambda: self._fitting(read_statistics(uri, endpoint), uri))
        files: list[ImageFile] = []
        together(ranks.group, lambda: files.extend(image_files(uri, endpoint)))
        names = [(file.name, file.version) for file in files]
        facts = [self._models.digest, fid.image_size, self._resolution]
        judge = self._models.features()

        def measure() -> Fitted:
            mine = files[ranks.place.rank :: ranks.place.world_size]
            together(ranks.group, lambda: add_images(judge, mine, self._resolution))
            judge.all_reduce()
            return judge.statistics

        return self._kept.statistics(f"images-{digest(names, facts)}", measure)

    def _teacher_statistics(self) -> FeatureStatistics | None:
        """Of the teacher's samples, on rank 0."""

        def measure() -> Fitted:
            panel = self._judged(self._sampling.teacher())
            if panel.features is None:
                raise ValueError("evaluation.metrics.fid is not set")
            return panel.features.statistics

        return self._kept.statistics(f"teacher-{digest(self._sample_facts)}", measure)

    def _fitting(self, statistics: FeatureStatistics, uri: str) -> FeatureStatistics:
        theirs, ours = len(statistics.mean), self._models.width
        if theirs != ours:
            raise TrainerError(
                FailureReason.INVALID_DATA,
                f"{uri} has statistics of {theirs} features, but the extractor gives {ours}: use "
                "statistics made with the same extractor, or a folder of images",
            )
        return statistics

    @property
    def _resolution(self) -> int:
        return self._config.data.resolution or self._sampling.distiller.teacher.default_resolution

    @property
    def _sample_facts(self) -> list[Any]:
        """What the teacher's statistics depend on."""
        teacher, sampling, fid = self._config.teacher, self._sampling, self._metrics.fid
        return [
            [teacher.model, teacher.revision, self._config.training.precision],
            [sampling.teacher_steps, sampling.teacher_guidance, sampling.seed],
            [self._metrics.samples, digest(list(self._captions)), self._resolution],
            [self._models.digest, fid.image_size if fid is not None else None],
        ]

    @property
    def _judge_facts(self) -> dict[str, Any]:
        """What else the student's metrics depend on."""
        return self._metrics.model_dump(mode="json", exclude={"every_iterations", "best"})
