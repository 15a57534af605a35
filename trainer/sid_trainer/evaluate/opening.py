"""Evaluation as a run's configuration asks for it: what is fetched and loaded for it."""

from __future__ import annotations

from sid_trainer.config import RunConfig
from sid_trainer.data.encoding import Encode
from sid_trainer.data.prompts import Prompts, open_prompts
from sid_trainer.engine.iteration import Distiller
from sid_trainer.evaluate.evaluator import Evaluator
from sid_trainer.evaluate.judges import load_judges
from sid_trainer.evaluate.previews import Previews, preview_prompts
from sid_trainer.evaluate.ranks import Ranks
from sid_trainer.evaluate.sampling import Sampling
from sid_trainer.evaluate.stage import EvaluationStage, Export
from sid_trainer.method.conditions import Condition
from sid_trainer.method.guidance_scales import sampling_scale
from sid_trainer.process.failures import naming
from sid_trainer.process.group import from_first, on_each
from sid_trainer.report.records import Records
from sid_trainer.telling.reporter import Reporter


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
    records = from_first(ranks.group, lambda: Records.load(ranks.storage))
    return EvaluationStage(config, ranks, reporter, sampling, previews, evaluator, export, records)


def open_sampling(
    config: RunConfig, distiller: Distiller, empty: Condition, origin: str
) -> Sampling:
    """How a run draws samples.

    Args:
        config: the run.
        distiller: the networks.
        empty: the empty prompt, once, on the accelerator.
        origin: which teacher it is exactly.
    """
    teacher = config.evaluation.teacher
    guidance = sampling_scale(teacher, config.distillation.guidance)
    seed, size = config.evaluation.seed, config.micro_batch_size
    return Sampling(distiller, empty, seed, size, teacher.steps, guidance, origin)


def _evaluator(
    config: RunConfig, ranks: Ranks, sampling: Sampling, prompts: Prompts, encode: Encode
) -> Evaluator | None:
    metrics, endpoint = config.evaluation.metrics, config.storage.server
    if metrics is None:
        return None
    adapter, captions = sampling.distiller.teacher, prompts
    if metrics.captions is not None:
        with naming("evaluation.metrics.captions.uri"):
            source = metrics.captions
            captions = on_each(ranks.group, lambda: open_prompts(source, endpoint))
    resolution = adapter.resolution(config.data.resolution)
    models = on_each(
        ranks.group, lambda: load_judges(metrics, endpoint, ranks.place.device, resolution)
    )
    texts = [captions[number] for number in range(min(metrics.samples, len(captions)))]
    return Evaluator(config, metrics, models, sampling, texts, encode, ranks)
