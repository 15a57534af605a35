"""What the student is compared with: the user's images, and its teacher.

Rules this module keeps:

* None of it changes in a run, so it is measured before training, once, and kept in the run's
  storage.
* The teacher is sampled once, whatever its samples serve, and not at all where all that is kept.
* Statistics are on rank 0 alone; every rank is told the teacher's metrics.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache

from sid_trainer.config import FidConfig, MetricsConfig, RunConfig
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.data.images.consistency import require_same_parts
from sid_trainer.evaluate.comparing import scorer_facts
from sid_trainer.evaluate.cost import is_cheap, measures_teacher
from sid_trainer.evaluate.finite import finite
from sid_trainer.evaluate.judges import FeatureJudge, JudgeModels, Panel
from sid_trainer.evaluate.kept import Fitted, Kept, digest
from sid_trainer.evaluate.ranks import Ranks
from sid_trainer.evaluate.reference import add_images, digest_of, read_statistics, share
from sid_trainer.evaluate.reference_places import has_statistics, reference_parts
from sid_trainer.evaluate.statistics import FeatureStatistics, frechet_distance
from sid_trainer.process.failures import naming
from sid_trainer.process.group import from_first, on_each, together

logger = logging.getLogger(__name__)


class Yardsticks:
    """References of distances, and the teacher's own metrics; :meth:`measure` is a collective.

    Args:
        config: the run.
        metrics: its ``evaluation.metrics``.
        models: the judges.
        resolution: height and width of the images.
        sample_facts: digest of all that the teacher's samples and their features depend on.
        judged_teacher: judges that have seen the teacher's samples; a collective.
        ranks: who samples.

    Attributes:
        references: what distances are measured to, by the name of the metric; None but on rank 0.
        teacher: the teacher's metrics, by the names of the student's.
        images: digest of the user's images, or of their statistics; empty without.
    """

    def __init__(
        self,
        config: RunConfig,
        metrics: MetricsConfig,
        models: JudgeModels,
        resolution: int,
        sample_facts: str,
        judged_teacher: Callable[[], Panel],
        ranks: Ranks,
    ) -> None:
        self.references: dict[str, FeatureStatistics | None] = {}
        self.teacher: dict[str, float] = {}
        self.images = ""
        self._config, self._metrics, self._models = config, metrics, models
        self._resolution, self._sample_facts = resolution, sample_facts
        self._judged_teacher, self._ranks = cache(judged_teacher), ranks
        self._kept = Kept(ranks.group, ranks.storage)

    def measure(self) -> None:
        """Measure all of it, or take it from the run's storage."""
        fid = self._metrics.fid
        if fid is not None and fid.images is not None:
            with naming("evaluation.metrics.fid.images.uri"):
                self.references["fid"] = self._image_statistics(fid, fid.images.uri)
        statistics = None
        wanted = measures_teacher(self._config)
        if fid is not None and (wanted or fid.teacher):
            statistics = self._teacher_statistics()
        if fid is not None and fid.teacher:
            self.references["fidTeacher"] = statistics
        if wanted:
            self.teacher = self._teacher_metrics(statistics)
        if self._ranks.place.rank == 0:
            self._tell()

    def _tell(self) -> None:
        if self.teacher:
            numbers = (f"{name} {value:.4g}" for name, value in self.teacher.items())
            logger.info("the teacher's own metrics: %s", ", ".join(numbers))
        elif self._metrics.teacher is None and self.references and not is_cheap(self._config):
            logger.info(
                "the teacher is not measured, as that would take more than a tenth of the work of "
                "training: evaluation.metrics.teacher true does it all the same"
            )

    def _image_statistics(self, fid: FidConfig, uri: str) -> FeatureStatistics | None:
        """Of the user's images."""
        endpoint, ranks = self._config.storage.server, self._ranks
        if has_statistics(uri):
            self.images = from_first(ranks.group, lambda: digest_of(uri, endpoint))
            return self._kept.on_first(lambda: self._fitting(read_statistics(uri, endpoint), uri))
        parts = on_each(ranks.group, lambda: reference_parts(uri, endpoint))
        require_same_parts(ranks.group, parts)
        names = [(part.name, part.version) for part in parts]
        self.images = digest(names, self._resolution)
        facts = [self._models.digest, fid.image_size, self._resolution]
        judge = self._models.features()

        def measure() -> Fitted:
            mine = share(parts, ranks.place.rank, ranks.place.world_size)
            together(ranks.group, lambda: add_images(judge, mine, self._resolution, ranks.alive))
            judge.all_reduce()
            return lambda: _usable(judge, uri)

        return self._kept.statistics(f"images-{digest(names, facts)}", measure)

    def _teacher_statistics(self) -> FeatureStatistics | None:
        """Of the teacher's samples."""

        def measure() -> Fitted:
            panel = self._judged_teacher()
            if panel.features is None:
                raise ValueError("evaluation.metrics.fid is not set")
            return panel.features.statistics

        return self._kept.statistics(f"teacher-{self._sample_facts}", measure)

    def _teacher_metrics(self, statistics: FeatureStatistics | None) -> dict[str, float]:
        """What the student is to be held against; on every rank."""
        scores = self._teacher_scores() if self._models.scorers else {}
        reference = self.references.get("fid")

        def metrics() -> dict[str, float]:
            distances = {}
            if statistics is not None and reference is not None:
                distances["fid"] = frechet_distance(statistics, reference)
            return finite("the teacher's metrics", distances | scores)

        return from_first(self._ranks.group, metrics)

    def _teacher_scores(self) -> dict[str, float]:
        scorers = [self._metrics.clip_score, self._metrics.preference]
        facts = [None if each is None else scorer_facts(each) for each in scorers]
        return self._kept.numbers(
            f"teacher-scores-{digest(self._sample_facts, facts)}",
            lambda: self._judged_teacher().means(),
        )

    def _fitting(self, statistics: FeatureStatistics, uri: str) -> FeatureStatistics:
        theirs, ours = len(statistics.mean), self._models.width
        if theirs != ours:
            raise TrainerError(
                FailureReason.INVALID_DATA,
                f"{uri} has statistics of {theirs} features, but the extractor gives {ours}: use "
                "statistics made with the same extractor, or images",
            )
        return statistics


def _usable(judge: FeatureJudge, uri: str) -> FeatureStatistics:
    if judge.count < 2:
        raise TrainerError(
            FailureReason.INVALID_DATA,
            f"{uri} has {judge.count} images, and a distribution takes two at least: give more "
            "images, or finished statistics (.npz)",
        )
    statistics = judge.statistics()
    if not statistics.is_finite:
        raise TrainerError(
            FailureReason.INVALID_DATA,
            f"{uri}: the extractor gives features of its images that are no finite numbers: see "
            "that evaluation.metrics.fid.features is the right one",
        )
    return statistics
