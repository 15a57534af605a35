"""Evaluation as a part of a run: what is drawn and measured when, and what comes of it.

Rules this module keeps:

* Every method is a collective, made on every rank after the same iteration.
* A measurement is stored before the next one begins: a resumed run keeps its records and its best.
* The report says nothing that is not in storage by then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sid_trainer.checkpoint.group import from_first, on_each
from sid_trainer.conditions import Condition
from sid_trainer.config import RunConfig
from sid_trainer.data.encoding import Encode
from sid_trainer.data.prompts import Prompts, open_prompts
from sid_trainer.evaluate.evaluator import Evaluator
from sid_trainer.evaluate.judges import load_judges
from sid_trainer.evaluate.ranks import Ranks
from sid_trainer.evaluate.records import Best, Evaluation, Records
from sid_trainer.evaluate.sampling import Sampling
from sid_trainer.evaluate.speed import device_name
from sid_trainer.export import Edition
from sid_trainer.failures import told_of
from sid_trainer.iteration import Distiller
from sid_trainer.previews import Previews, preview_prompts
from sid_trainer.report import write_report
from sid_trainer.reporter import Reporter
from sid_trainer.samples import save_grid

BEST_FOLDER = "student-best"
Export = Callable[[Edition], object]
"""Exports the student of now; a collective."""


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
    """

    config: RunConfig
    ranks: Ranks
    reporter: Reporter
    sampling: Sampling
    previews: Previews
    evaluator: Evaluator | None
    export: Export

    def __post_init__(self) -> None:
        self.records = from_first(self.ranks.group, lambda: Records.load(self.ranks.storage))

    def prepare(self, done: int) -> None:
        """Measure what the student will be compared with; draw the student of the start.

        Args:
            done: finished iterations.
        """
        if self.evaluator is not None:
            self.evaluator.prepare()
            self._keep(self.records.model_copy(update={"teacher": self.evaluator.teacher}))
            self.reporter.measured_before({**self.records.latest, **self.records.beside})
        if done == 0:
            self.samples(0)

    def samples(self, iteration: int) -> None:
        """Draw, store and tell a sample grid."""
        above = self.previews.teacher(self.sampling)
        images = self.previews.student(self.sampling)

        def save() -> str:
            if images is None:
                raise RuntimeError("the first rank has no sample pictures")
            prompts = self.previews.prompts
            return save_grid(self.ranks.storage, iteration, images, prompts, above)

        self.reporter.samples(from_first(self.ranks.group, save))

    def metrics(self, iteration: int) -> None:
        """Measure the student, store and tell the result, and export a best one."""
        if self.evaluator is None:
            return
        measured = self.evaluator.evaluate()
        evaluation = Evaluation(
            iteration=iteration,
            images=iteration * self.config.training.batch_size,
            settings=self.evaluator.settings,
            metrics=measured.metrics,
            seconds=measured.seconds,
        )
        self.reporter.evaluated(iteration, measured.metrics)
        records = self.records.with_evaluation(evaluation)
        if self._is_best(records, evaluation):
            self.export(Edition(iteration, BEST_FOLDER, measured.metrics, self.records.teacher))
            records = records.model_copy(update={"best": iteration})
        self._keep(records)

    def finish(self, iteration: int) -> None:
        """Measure the student of the end, unless an earlier attempt did, and its speed."""
        known = self.evaluator is None or self.records.at(iteration, self.evaluator.settings)
        if not known:
            self.metrics(iteration)
        speed = self.previews.speed(self.sampling)
        self._keep(self.records.model_copy(update={"speed": speed}))

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

    def _is_best(self, records: Records, evaluation: Evaluation) -> bool:
        ranked = self._ranked(records)
        return bool(ranked) and ranked[0].iteration == evaluation.iteration

    def _ranked(self, records: Records) -> list[Evaluation]:
        metrics = self.config.evaluation.metrics
        if self.evaluator is None or metrics is None or metrics.best is None:
            return []
        return Best(metrics.best, self.evaluator.settings).ranked(records)

    def _keep(self, records: Records) -> None:
        self.records = records
        from_first(self.ranks.group, lambda: records.save(self.ranks.storage))


def open_evaluation(
    config: RunConfig,
    ranks: Ranks,
    reporter: Reporter,
    sampling: Sampling,
    prompts: Prompts,
    encode: Encode,
    export: Export,
) -> EvaluationStage:
    """Fetch and load what evaluation needs; a collective.

    Args:
        config: the run.
        ranks: this one and all others.
        reporter: is told all results.
        sampling: draws student and teacher.
        prompts: the training prompts.
        encode: the text encoders.
        export: for the best student.

    Raises:
        TrainerError: naming the field whose value cannot be had or used.
    """
    previews = Previews(
        sampling.distiller.teacher, encode, preview_prompts(config, prompts), ranks.place
    )
    evaluator = _evaluator(config, ranks, sampling, prompts, encode)
    return EvaluationStage(config, ranks, reporter, sampling, previews, evaluator, export)


def open_sampling(config: RunConfig, distiller: Distiller, empty: Condition) -> Sampling:
    """How a run draws samples.

    Args:
        config: the run.
        distiller: the networks.
        empty: the empty prompt, once, on the accelerator.
    """
    teacher = config.evaluation.teacher
    guidance = config.distillation.guidance.scale if teacher.guidance is None else teacher.guidance
    seed, size = config.evaluation.seed, config.micro_batch_size
    return Sampling(distiller, empty, seed, size, teacher.steps, guidance)


def _evaluator(
    config: RunConfig, ranks: Ranks, sampling: Sampling, prompts: Prompts, encode: Encode
) -> Evaluator | None:
    metrics, endpoint = config.evaluation.metrics, config.storage.server
    if metrics is None:
        return None
    adapter, captions = sampling.distiller.teacher, prompts
    if metrics.captions is not None:
        with told_of("evaluation.metrics.captions.uri"):
            source = metrics.captions
            captions = on_each(ranks.group, lambda: open_prompts(source, endpoint))
    resolution = config.data.resolution or adapter.default_resolution
    models = on_each(
        ranks.group, lambda: load_judges(metrics, endpoint, ranks.place.device, resolution)
    )
    texts = [captions[number] for number in range(min(metrics.samples, len(captions)))]
    return Evaluator(config, metrics, models, sampling, texts, encode, ranks)
