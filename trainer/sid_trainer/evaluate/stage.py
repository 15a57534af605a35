"""Evaluation as a part of a run: what is drawn and measured when, and what comes of it.

Rules this module keeps:

* Every method is a collective, made on every rank after the same iteration.
* A measurement is stored before the next one begins: a resumed run keeps its records and its best.
  What an earlier attempt ended in the middle of is made good. What was measured of another training
  in this folder, or after the checkpoint that the run goes on from, is measured anew.
* A store that does not answer costs a picture or a best student, and delays records: they are
  stored with the next ones. It does not end the run, whose checkpoints have a tolerance of their
  own.
* Where no best student is whole in storage, the next that is measured goes there.
* The report says nothing that is not in storage by then.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from sid_trainer.config import RunConfig
from sid_trainer.evaluate.evaluator import Evaluator, MeasurementGivenUpError, never
from sid_trainer.evaluate.kept import unless_away
from sid_trainer.evaluate.previews import Previews
from sid_trainer.evaluate.ranks import Ranks
from sid_trainer.evaluate.sampling import Sampling
from sid_trainer.evaluate.speed import device_name
from sid_trainer.export import Edition
from sid_trainer.models.pipeline_index import INDEX
from sid_trainer.process.group import from_first
from sid_trainer.report import write_report
from sid_trainer.report.records import Best, Evaluation, Records
from sid_trainer.report.samples import sample_key, save_grid
from sid_trainer.telling.reporter import Reporter

BEST_FOLDER = "student-best"
Export = Callable[[Edition], object]
"""Exports the student of now; a collective, which fails on all ranks or on none."""

logger = logging.getLogger(__name__)


@dataclass
class EvaluationStage:
    """Sample grids, metrics, the best student and the report of a run.

    Attributes:
        config: the run.
        ranks: this one and all others.
        reporter: is told all results.
        sampling: draws student and teacher.
        previews: the sample grid.
        evaluator: measures metrics, if there are any.
        export: for the best student.
        records: what was measured so far.
    """

    config: RunConfig
    ranks: Ranks
    reporter: Reporter
    sampling: Sampling
    previews: Previews
    evaluator: Evaluator | None
    export: Export
    records: Records

    def prepare(self, done: int) -> None:
        """Measure what the student will be compared with.

        Args:
            done: iterations that the run goes on from; 0 where it begins.
        """
        self.records = self.records.until(done)
        if self.evaluator is not None:
            self.evaluator.prepare()
            self._keep(self.records.model_copy(update={"teacher": self.evaluator.teacher}))
            self.reporter.measured_before({**self.records.latest, **self.records.beside})

    def make_good(self, done: int, samples_due: bool, metrics_due: bool) -> None:
        """Draw and measure what was due after ``done`` iterations and is not there.

        The start is always drawn: until there is a checkpoint, its settings may change.
        """
        if samples_due and (done == 0 or not self._drawn(done)):
            self.samples(done)
        if metrics_due and not self._measured(done):
            self.metrics(done)

    def samples(self, iteration: int) -> None:
        """Draw, store and tell a sample grid."""
        above = self.previews.teacher(self.sampling)
        images = self.previews.student(self.sampling)

        def save() -> str:
            if images is None:
                raise RuntimeError("the first rank has no sample pictures")
            prompts = self.previews.prompts
            return save_grid(self.ranks.storage, iteration, images, prompts, above)

        what = f"the sample pictures of iteration {iteration}"
        uri = from_first(self.ranks.group, lambda: unless_away(what, save))
        if uri is not None:
            self.reporter.samples(uri)

    def metrics(self, iteration: int, stop: Callable[[], bool] = never) -> None:
        """Measure the student, store and tell the result, and export a best one.

        Args:
            iteration: finished ones.
            stop: whether to give up, see :meth:`~.evaluator.Evaluator.evaluate`.
        """
        if self.evaluator is None:
            return
        try:
            measured = self.evaluator.evaluate(stop)
        except MeasurementGivenUpError:
            logger.warning("the measurement of iteration %d is given up", iteration)
            return
        evaluation = Evaluation(
            iteration=iteration,
            images=iteration * self.config.training.batch_size,
            settings=self.evaluator.settings,
            metrics=measured.metrics,
            seconds=measured.seconds,
            bases=self.evaluator.bases,
        )
        self.reporter.evaluated(iteration, measured.metrics)
        records = self.records.with_evaluation(evaluation)
        if self._is_best(records, evaluation) and self._export_best(evaluation):
            records = records.model_copy(update={"best": iteration})
        self._keep(records)

    def last_metrics(self, iteration: int, stop: Callable[[], bool] = never) -> None:
        """Measure the student of the end, unless an earlier attempt did."""
        if not self._measured(iteration):
            self.metrics(iteration, stop)

    def finish(self) -> None:
        """Measure the student's speed, and store all records."""
        speed = self.previews.speed(self.sampling)
        self.records = self.records.model_copy(update={"speed": speed})
        from_first(self.ranks.group, lambda: self.records.save(self.ranks.storage))

    @property
    def ranking(self) -> list[int]:
        """Iterations of the students measured so far, the best by the chosen metric first."""
        return [evaluation.iteration for evaluation in self._ranked(self.records)]

    def edition(self, iteration: int) -> Edition:
        """The student of the end, with what is known of it."""
        known = self.evaluator and self.records.at(iteration, self.evaluator.settings)
        metrics = known.metrics if known else {}
        return Edition(iteration, metrics=metrics, teacher=self.records.teacher if known else {})

    def report(self, iteration: int) -> str:
        """Store the report; return where it is."""
        storage, device = self.ranks.storage, device_name(self.ranks.place.device)
        return from_first(
            self.ranks.group, lambda: write_report(storage, self.config, iteration, device)
        )

    def _drawn(self, iteration: int) -> bool:
        """Whether the grid of an iteration is stored."""
        storage = self.ranks.storage
        return from_first(self.ranks.group, lambda: storage.exists(sample_key(iteration)))

    def _measured(self, iteration: int) -> bool:
        """Whether there is nothing to measure after an iteration, or it was."""
        evaluator = self.evaluator
        return evaluator is None or self.records.at(iteration, evaluator.settings) is not None

    def _is_best(self, records: Records, evaluation: Evaluation) -> bool:
        """Whether a student is to be stored: it is better than the stored one, or none is ours."""
        ranked = [each.iteration for each in self._ranked(records)]
        if evaluation.iteration not in ranked:
            return False
        if records.best not in ranked:
            return True
        better = ranked.index(evaluation.iteration) <= ranked.index(records.best)
        return better or not self._has_best()

    def _has_best(self) -> bool:
        """Whether a best student is whole; if the store does not answer, that is assumed."""
        storage = self.ranks.storage
        look = partial(storage.exists, f"{BEST_FOLDER}/{INDEX}")
        what = "the best student, if there is none"
        return from_first(self.ranks.group, lambda: unless_away(what, look)) is not False

    def _export_best(self, evaluation: Evaluation) -> bool:
        """Store the student of now as the best; False, on all ranks, where it could not be."""
        edition = Edition(
            evaluation.iteration, BEST_FOLDER, evaluation.metrics, self.records.teacher
        )

        def export() -> bool:
            self.export(edition)
            return True

        return unless_away(f"the best student, of iteration {edition.iteration}", export) or False

    def _ranked(self, records: Records) -> list[Evaluation]:
        metrics = self.config.evaluation.metrics
        if self.evaluator is None or metrics is None or metrics.best is None:
            return []
        own = Best(metrics.best, self.evaluator.settings, self.evaluator.bases)
        return own.ranked(records)

    def _keep(self, records: Records) -> None:
        self.records = records
        save = partial(records.save, self.ranks.storage)
        from_first(self.ranks.group, lambda: unless_away("the newest measurement", save))
