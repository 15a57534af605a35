"""The tables of a model card: what was measured and with what, and how it was trained. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping

from sid_trainer.config import AdversarialConfig, MetricsConfig, RunConfig
from sid_trainer.method.guidance_scales import guidance_scales, sampling_scale
from sid_trainer.report.metric_names import explained


def metrics_table(
    config: RunConfig, metrics: Mapping[str, float], teacher: Mapping[str, float]
) -> str:
    """The student's metrics, beside the teacher's where there are any.

    Args:
        config: the run.
        metrics: by name.
        teacher: likewise.
    """
    rows = {explained(name): f"{value:.4g}" for name, value in metrics.items()}
    if not teacher:
        return _table("metric", rows)
    known = {explained(name): f"{value:.4g}" for name, value in teacher.items()}
    sampling = config.evaluation.teacher
    guidance = sampling_scale(sampling, config.distillation.guidance)
    lines = [f"| {name} | {value} | {known.get(name, '–')} |" for name, value in rows.items()]
    head = (
        f"| metric | student, {count(config.student.steps, 'step')} "
        f"| teacher, {count(sampling.steps, 'step')} with guidance {guidance:g} |"
    )
    return "\n".join([head, "|---|---|---|", *lines])


def measurement_table(metrics: MetricsConfig) -> str:
    """What the metrics were measured with: without it they compare with nothing."""
    rows = {
        "Samples": f"{metrics.samples:,}",
        "Captions": f"`{metrics.captions.uri}`" if metrics.captions else "the training prompts",
    }
    if (fid := metrics.fid) is not None:
        if fid.images is not None:
            rows["Reference images"] = f"`{fid.images.uri}`"
        rows["Feature extractor"] = f"`{fid.features}`"
        size = f"{fid.image_size}×{fid.image_size}"
        rows["Image size"] = f"{size} (bicubic)" if fid.image_size else "as they are"
    if metrics.clip_score is not None:
        rows["CLIP model"] = f"`{metrics.clip_score.model}`"
    if metrics.preference is not None:
        rows["Preference model"] = f"`{metrics.preference.model}`"
    return _table("measured with", rows)


def settings_table(config: RunConfig, iteration: int) -> str:
    """What the student was trained from and with.

    Args:
        config: the run.
        iteration: finished iterations.
    """
    steps, begun = config.student.steps, config.student.init_from
    rows = {
        **({"Started from": f"`{begun}`"} if begun else {}),
        "Prompts": f"`{config.data.prompts.uri}`",
        **({"Images": f"`{config.data.images.uri}`"} if config.data.images else {}),
        "Iterations": f"{iteration:,} of batch {config.training.batch_size}",
        "Noise levels": ", ".join(_level(steps, index) for index in range(steps)),
        **({"Noise between steps": config.student.noise} if steps > 1 else {}),
        **_loss_rows(config),
        **_optimizer_rows(config),
    }
    if (aided := config.distillation.adversarial) is not None:
        rows["Adversarial loss"] = _adversarial(aided)
    return _table("setting", rows)


def count(number: int, thing: str) -> str:
    """A number of things, in words that agree with it."""
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


def _loss_rows(config: RunConfig) -> dict[str, str]:
    loss = config.distillation
    scales = guidance_scales(loss.guidance)
    return {
        "Loss": f"alpha {loss.alpha:g}, weighting {loss.weighting}",
        "Guidance while training": f"{loss.guidance.strategy}: fake score "
        f"{scales.fake_training:g} in its own training and {scales.fake:g} in the student's, "
        f"teacher {scales.teacher:g}",
    }


def _optimizer_rows(config: RunConfig) -> dict[str, str]:
    training, half_life = config.training, config.training.ema.half_life_images
    average = f"moving average, half-life {half_life:,} images"
    both = f"student {training.student_rate:g}, fake score {training.fake_rate:g}"
    rates = {"Learning rates": both}
    return {
        **(rates if training.learning_rate else {}),  # a checkpoint does not tell those of its run
        "Precision": training.precision,
        "Weights": average if half_life else "last iterate",
        "Seed": str(training.seed),
    }


def _adversarial(aided: AdversarialConfig) -> str:
    return (
        f"{aided.pooling} pooling; weights {aided.sid_weight:g} (score identity), "
        f"{aided.generator_weight:g} (student), {aided.discriminator_weight:g} (discriminator); "
        f"the student is updated after {aided.student_starts_after_images:,} generated images, "
        f"real images join after {aided.starts_after_images:,}"
    )


def _table(kind: str, rows: Mapping[str, str]) -> str:
    lines = [f"| {name} | {value} |" for name, value in rows.items()]
    return "\n".join([f"| {kind} | value |", "|---|---|", *lines])


def _level(steps: int, index: int) -> str:
    value = 1 - index / steps
    return f"{value:g}" if math.isclose(value, round(value, 3)) else f"{value:.3f}"
