"""Alert rules and dashboard: PromQL that parses, of series and labels that the operator serves."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client.registry import CollectorRegistry

from sid_operator.metrics.runs import CONDITIONS, TRAINING_METRICS, RunCollector
from sid_operator.metrics.work import WorkMetrics
from tests.unit.operator import world

FILES = Path(__file__).parents[3] / "charts" / "sid-operator" / "files"
ALERTS: list[dict[str, Any]] = yaml.safe_load((FILES / "alerts.yaml").read_text())
DASHBOARD = json.loads((FILES / "dashboard.json").read_text())
PANELS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
EXPRESSIONS = [alert["expr"] for alert in ALERTS] + PANELS
STATUS: dict[str, Any] = {
    "phase": "Running",
    "restarts": 2,
    "failure": {"reason": "NodeLost", "message": "Node a does not answer."},
    "progress": {"iteration": 250, "percent": 50, "imagesPerSecond": 12.5, "etaSeconds": 100},
    "metrics": dict.fromkeys(TRAINING_METRICS, 0.5),
    "conditions": [{"type": kind, "status": "True"} for kind in CONDITIONS],
}


def served() -> CollectorRegistry:
    """A registry with a sample of everything."""
    metrics = WorkMetrics()
    for result in ("done", "conflict", "refused", "error", "bug"):
        metrics.passed(result, 0.01)
    for code in ("200", "403", "none"):
        metrics.requested("jobs", "GET", code, 0.01)
    metrics.watch_failed("jobs")
    metrics.registry.register(RunCollector(lambda: [world.raw(STATUS)]))
    return metrics.registry


SAMPLES = [sample for family in served().collect() for sample in family.samples]


def parts(expression: str, kind: type) -> Iterator[Any]:
    """The parts of an expression that are of a kind."""
    found: list[Any] = []
    promql_parser.walk(promql_parser.parse(expression), found.append)
    return (part for part in found if isinstance(part, kind))


def fits(value: str, matcher: Any) -> bool:
    """Whether a label's value satisfies a matcher; Grafana's variables fit anything."""
    if matcher.value.startswith("$"):
        return True
    if matcher.op == promql_parser.MatchOp.Re:
        return re.fullmatch(matcher.value, value) is not None
    assert matcher.op == promql_parser.MatchOp.Equal
    return bool(value == matcher.value)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_selector_finds_something(expression: str) -> None:
    selectors = list(parts(expression, promql_parser.VectorSelector))
    assert selectors
    for selector in selectors:
        matchers = selector.matchers.matchers
        assert any(
            sample.name == selector.name
            and all(m.name in sample.labels and fits(sample.labels[m.name], m) for m in matchers)
            for sample in SAMPLES
        ), selector.prettify()


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_what_is_grouped_by_is_a_label_of_the_series(expression: str) -> None:
    for aggregate in parts(expression, promql_parser.AggregateExpr):
        names = {s.name for s in parts(aggregate.prettify(), promql_parser.VectorSelector)}
        labels = {label for s in SAMPLES if s.name in names for label in s.labels}
        assert set(aggregate.modifier.labels) <= labels


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_tells_what_and_what_to_do(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in ("critical", "warning")
    assert alert["annotations"].keys() == {"summary", "description"}
    told = set(re.findall(r"\$labels\.(\w+)", json.dumps(alert["annotations"])))
    kept = set()
    for selector in parts(alert["expr"], promql_parser.VectorSelector):
        kept |= {label for s in SAMPLES if s.name == selector.name for label in s.labels}
    for aggregate in parts(alert["expr"], promql_parser.AggregateExpr):
        kept &= set(aggregate.modifier.labels)
    assert told <= kept


OF_RUNS = [alert for alert in ALERTS if "sid_distillation_condition" in alert["expr"]]
OVER = 'unless on (namespace, name) sid_distillation_condition{condition=~"Failed|Complete"} == 1'


@pytest.mark.parametrize("alert", OF_RUNS, ids=lambda alert: alert["alert"])
def test_a_condition_of_a_run_that_is_over_wakes_nobody(alert: dict[str, Any]) -> None:
    """Conditions stay as they were at the end, and the resource may stay for long."""
    assert OVER in alert["expr"] or alert["alert"] == "SiDDistillationFailed"


def test_each_condition_that_is_served_is_in_an_alert() -> None:
    told = {
        matcher.value
        for alert in OF_RUNS
        for selector in parts(alert["expr"], promql_parser.VectorSelector)
        for matcher in selector.matchers.matchers
    }
    assert told == {"Failed|Complete", *CONDITIONS} - {"Complete"}


def test_a_condition_is_told_while_it_is_known() -> None:
    conditions = [
        {"type": "Stalled", "status": "True"},
        {"type": "FitsMemory", "status": "False"},
        {"type": "Failed", "status": "Unknown"},
    ]
    registry = CollectorRegistry()
    registry.register(RunCollector(lambda: [world.raw({"conditions": conditions})]))
    of_run = {"namespace": world.NAMESPACE, "name": world.NAME}
    name = "sid_distillation_condition"
    assert registry.get_sample_value(name, of_run | {"condition": "Stalled"}) == 1
    assert registry.get_sample_value(name, of_run | {"condition": "FitsMemory"}) == 0
    assert registry.get_sample_value(name, of_run | {"condition": "Failed"}) is None
