"""The runs as Prometheus sees them, read from the caches when it asks.

Rules this module keeps:

* Nothing is remembered here: a resource that is gone tells nothing any more.
* The number of series follows the number of resources: training metrics are those of
  :data:`TRAINING_METRICS`, whatever else a trainer tells.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from sid_operator.api.conditions import ConditionType, Phase
from sid_operator.kube.kinds import Object

PREFIX = "sid_distillation"
PROGRESS = {
    "iteration": ("iterations", "Iterations done."),
    "percent": ("progress_percent", "Iterations done, in percent."),
    "imagesPerSecond": ("images_per_second", "Pace over all GPUs."),
    "etaSeconds": ("eta_seconds", "Seconds until the last iteration at the present pace."),
}
"""Fields of ``status.progress``: name of the series and its help."""
TRAINING_METRICS = (
    "generatorLoss",
    "fakeScoreLoss",
    "generatorGradNorm",
    "fakeGradNorm",
    "discriminatorLoss",
    "generatorAdversarialLoss",
    "skippedUpdates",
    "fid",
    "fidTeacher",
    "clipScore",
    "preferenceScore",
    "teacherFid",
    "teacherClipScore",
    "teacherPreferenceScore",
)
CONDITIONS = (
    ConditionType.ACCEPTED,
    ConditionType.FITS_MEMORY,
    ConditionType.STALLED,
    ConditionType.CHECKPOINTS,
    ConditionType.FAILED,
    ConditionType.COMPLETE,
)
"""Those that somebody may want to be woken for."""


class RunCollector(Collector):
    """Series of all runs.

    Args:
        resources: Gives the resources as the cache holds them.
    """

    def __init__(self, resources: Callable[[], Iterable[Object]]) -> None:
        self._resources = resources

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Series of now."""
        resources = list(self._resources())
        yield _phases(resources)
        yield _restarts(resources)
        yield _conditions(resources)
        yield _failures(resources)
        yield from _progress(resources)
        yield _training(resources)


def _phases(resources: list[Object]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"{PREFIX}s", "Resources by phase.", labels=["phase"])
    counted = Counter(_status(obj).get("phase", Phase.PENDING.value) for obj in resources)
    for phase in Phase:
        family.add_metric([phase.value], counted[phase.value])
    return family


def _restarts(resources: list[Object]) -> GaugeMetricFamily:
    text = (
        "How often training was started again, after whatever: a failure, a suspension, a change."
    )
    family = _per_run("restarts", text)
    for obj in resources:
        family.add_metric(_names(obj), _status(obj).get("restarts", 0))
    return family


def _conditions(resources: list[Object]) -> GaugeMetricFamily:
    text = "1 where a condition is True, 0 where it is False, absent where it is Unknown."
    family = _per_run("condition", text, "condition")
    for obj in resources:
        told = {one["type"]: one["status"] for one in _status(obj).get("conditions") or []}
        for condition in CONDITIONS:
            if told.get(condition) in ("True", "False"):
                family.add_metric([*_names(obj), condition], told[condition] == "True")
    return family


def _failures(resources: list[Object]) -> GaugeMetricFamily:
    family = _per_run("failure", "1 while status.failure stands, with its reason.", "reason")
    for obj in resources:
        if failure := _status(obj).get("failure"):
            family.add_metric([*_names(obj), failure["reason"]], 1)
    return family


def _progress(resources: list[Object]) -> Iterator[GaugeMetricFamily]:
    for field, (name, text) in PROGRESS.items():
        family = _per_run(name, text)
        for obj in resources:
            value = (_status(obj).get("progress") or {}).get(field)
            if value is not None:
                family.add_metric(_names(obj), value)
        yield family


def _training(resources: list[Object]) -> GaugeMetricFamily:
    family = _per_run("training", "Newest value of a metric that the trainer measured.", "metric")
    for obj in resources:
        metrics = _status(obj).get("metrics") or {}
        for name in TRAINING_METRICS:
            if name in metrics:
                family.add_metric([*_names(obj), name], metrics[name])
    return family


def _per_run(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{PREFIX}_{name}", text, labels=["namespace", "name", *labels])


def _status(obj: Object) -> Object:
    status: Object = obj.get("status") or {}
    return status


def _names(obj: Object) -> list[str]:
    return [obj["metadata"]["namespace"], obj["metadata"]["name"]]
