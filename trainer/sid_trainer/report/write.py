"""Gathers what a report shows from the run's storage, and stores it beside the student.

Everything but the versions is read from storage, so a report covers all attempts of a run.
"""

from __future__ import annotations

import io
import platform
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version

import yaml
from PIL import Image

from sid_trainer.config import RunConfig
from sid_trainer.report.chart import line_chart
from sid_trainer.report.history import Line, curve, joined, read_history
from sid_trainer.report.metric_names import METRICS, TEACHERS, charts, lower_is_better
from sid_trainer.report.page import Chart, Fact, Page, Picture, Table, render
from sid_trainer.report.records import Records, Speed
from sid_trainer.storage import Storage

KEY = "report.html"
MAX_WIDTH = 1600
"""Pixels of a picture; wider ones are reduced."""
_SMALL = 300_000
"""Bytes of a PNG that stays one; larger pictures become JPEG."""
_GRID = re.compile(r"samples/iter-(\d+)\.png")
_PACKAGES = ("sid-operator", "torch", "diffusers", "transformers", "deepspeed", "numpy")
_TRAINED: Mapping[str, Sequence[str]] = {
    "Student's loss": ("generatorLoss",),
    "Fake score's loss": ("fakeScoreLoss",),
    "Discriminator's loss (1.39 where it can tell nothing)": ("discriminatorLoss",),
    "Student's adversarial loss": ("generatorAdversarialLoss",),
    "Gradient norms": ("generatorGradNorm", "fakeGradNorm"),
    "Skipped updates": ("skippedUpdates",),
    "Images a second": ("imagesPerSecond",),
}
"""By the title of each chart, the names of its curves."""
_NAMES = {
    **{name: each.title for name, each in METRICS.items()},
    **dict.fromkeys(TEACHERS.values(), "the teacher's"),
    "generatorLoss": "student",
    "fakeScoreLoss": "fake score",
    "discriminatorLoss": "discriminator",
    "generatorAdversarialLoss": "student",
    "generatorGradNorm": "student",
    "fakeGradNorm": "fake score",
    "skippedUpdates": "over all attempts",
    "imagesPerSecond": "images/s",
}


def write_report(storage: Storage, config: RunConfig, iteration: int, device: str) -> str:
    """Store the report and return where it is; on rank 0 only.

    Args:
        storage: the run's folder.
        config: the run.
        iteration: finished iterations.
        device: what it was trained on.
    """
    records = Records.load(storage)
    page = Page(
        title=config.name,
        summary=_summary(config, iteration),
        facts=_facts(config, records, iteration),
        charts=[
            *_charts(charts(), _measured(records)),
            *_charts(_TRAINED, joined(read_history(storage))),
        ],
        evaluations=_evaluations(records),
        pictures=_pictures(storage, iteration),
        settings=_settings(config),
        versions=_versions(config, records, device),
    )
    storage.put_bytes(KEY, render(page).encode(), "text/html; charset=utf-8")
    return storage.uri(KEY)


def _summary(config: RunConfig, iteration: int) -> str:
    images = iteration * config.training.batch_size
    return (
        f"A {config.student.steps}-step student of {config.teacher.model} after {iteration:,} "
        f"iterations, {images:,} generated images."
    )


def _facts(config: RunConfig, records: Records, iteration: int) -> list[Fact]:
    last = records.evaluations[-1] if records.evaluations else None
    count = config.evaluation.metrics.samples if config.evaluation.metrics is not None else 0
    facts = [
        Fact(
            _NAMES.get(name, name),
            _number(value),
            f"{_beside(records, name)}{count:,} samples",
        )
        for name, value in (last.metrics if last is not None else {}).items()
    ]
    if (speed := records.speed) is not None:
        facts.append(
            Fact(
                "Speed-up over the teacher",
                f"{speed.factor:.3g}×",
                f"{speed.student_steps} steps, not {speed.teacher_steps} with guidance "
                f"{speed.teacher_guidance:g}; measured here",
            )
        )
    if records.best is not None:
        facts.append(Fact("Best student", f"iteration {records.best:,}", "in student-best/"))
    return [*facts, Fact("Iterations", f"{iteration:,}", f"batch {config.training.batch_size:,}")]


def _beside(records: Records, name: str) -> str:
    return f"teacher {_number(records.teacher[name])}; " if name in records.teacher else ""


def _measured(records: Records) -> list[Line]:
    """Metrics that compare with the last ones, as lines of a history; the teacher beside all."""
    if not records.evaluations:
        return []
    last, lines = records.evaluations[-1], list[Line]()
    for each in records.evaluations:
        metrics = {n: value for n, value in each.metrics.items() if each.comparable(last, n)}
        if metrics:
            lines.append({"iteration": each.iteration, **metrics, **records.beside})
    return lines


def _charts(kinds: Mapping[str, Sequence[str]], lines: Sequence[Line]) -> list[Chart]:
    """The charts that have something to show: a curve of nothing but zeros says nothing."""
    charts = []
    for title, names in kinds.items():
        curves = [curve(lines, name) for name in names]
        curves = [found for found in curves if any(value for _, value in found.points)]
        if curves:
            keys = [_NAMES.get(found.name, found.name) for found in curves]
            charts.append(Chart(title, keys, line_chart(curves)))
    return charts


def _evaluations(records: Records) -> Table:
    names = list(dict.fromkeys(n for each in records.evaluations for n in each.metrics))
    if not names:
        return Table([])
    head = ["Iteration", "Images", *(_heading(name) for name in names), "Seconds", ""]
    teacher = ["Teacher", "", *(_number(records.teacher.get(name)) for name in names), "", ""]
    return Table(
        [
            head,
            *([teacher] if records.teacher else []),
            *(
                [
                    f"{each.iteration:,}",
                    f"{each.images:,}",
                    *(_number(each.metrics.get(name)) for name in names),
                    f"{each.seconds:.0f}",
                    "best" if each.iteration == records.best else "",
                ]
                for each in records.evaluations
            ),
        ]
    )


def _heading(name: str) -> str:
    return f"{_NAMES.get(name, name)} {'↓' if lower_is_better(name) else '↑'}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _pictures(storage: Storage, finished: int) -> list[Picture]:
    """The first and the last sample grid."""
    grids = {int(match[1]): key for key in _grids(storage) if (match := _GRID.fullmatch(key))}
    drawn = [iteration for iteration in grids if iteration <= finished]  # later: another training's
    chosen = [drawn[0], drawn[-1]] if len(drawn) > 1 else drawn
    pictures = []
    for iteration in chosen:
        title = f"After {iteration:,} iterations" if iteration else "Before training"
        media_type, data = embeddable(storage.get_bytes(grids[iteration]))
        pictures.append(Picture(title, media_type, data))
    return pictures


def _grids(storage: Storage) -> list[str]:
    return sorted(found.key for found in storage.list("samples/"))


def embeddable(png: bytes) -> tuple[str, bytes]:
    """A picture of bearable size, with its media type."""
    if len(png) <= _SMALL:
        return "image/png", png
    with Image.open(io.BytesIO(png), formats=("PNG",)) as image:
        picture = image.convert("RGB")
    picture.thumbnail((MAX_WIDTH, picture.height), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=88)
    return "image/jpeg", buffer.getvalue()


def _settings(config: RunConfig) -> str:
    sections = config.model_dump(mode="json", by_alias=True, exclude={"launch"}, exclude_none=True)
    return yaml.safe_dump(sections, sort_keys=False, allow_unicode=True)


def _versions(config: RunConfig, records: Records, device: str) -> Table:
    launch = config.launch
    rows = [
        *_timings(records.speed),
        ["Device", device],
        ["Processes", f"{launch.world_size} on {launch.nodes} nodes"],
        ["Python", platform.python_version()],
    ]
    return Table([*rows, *([name, found] for name in _PACKAGES if (found := _version(name)))])


def _timings(speed: Speed | None) -> list[list[str]]:
    if speed is None:
        return []
    images = f"for {speed.images} images a rank, latents only"
    return [
        ["Teacher's sampler", f"{speed.teacher_seconds:.3g} s {images}"],
        ["Student's sampler", f"{speed.student_seconds:.3g} s {images}"],
    ]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
