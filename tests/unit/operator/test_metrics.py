"""What Prometheus is told: of the operator's work, and of the runs."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from sid_operator.kube.kinds import JOBS, resource_in
from sid_operator.metrics.runs import RunCollector
from sid_operator.metrics.server import PATH, exposition
from sid_operator.metrics.work import WorkMetrics
from sid_operator.serving import serving
from tests.unit.operator import world
from tests.unit.operator.fake_api import Fault, served

STATUS: dict[str, Any] = {
    "phase": "Running",
    "restarts": 2,
    "progress": {"iteration": 250, "percent": 50, "imagesPerSecond": 12.5, "etaSeconds": 100},
    "metrics": {"generatorLoss": 0.5, "fid": 21.0, "madeUp": 1.0},
}


def value(registry: CollectorRegistry, series: str, /, **labels: str) -> float | None:
    return registry.get_sample_value(series, labels)


def test_runs_are_told_by_phase_and_name() -> None:
    registry = CollectorRegistry()
    resources = [world.raw(STATUS), world.raw()]
    resources[1]["metadata"] |= {"name": "new"}
    registry.register(RunCollector(lambda: resources))
    of_run = {"namespace": world.NAMESPACE, "name": world.NAME}

    assert value(registry, "sid_distillations", phase="Running") == 1
    assert value(registry, "sid_distillations", phase="Pending") == 1
    assert value(registry, "sid_distillations", phase="Failed") == 0
    assert value(registry, "sid_distillation_restarts", **of_run) == 2
    assert value(registry, "sid_distillation_iterations", **of_run) == 250
    assert value(registry, "sid_distillation_eta_seconds", **of_run) == 100
    assert value(registry, "sid_distillation_training", metric="fid", **of_run) == 21
    assert value(registry, "sid_distillation_training", metric="madeUp", **of_run) is None

    resources.clear()
    assert value(registry, "sid_distillation_restarts", **of_run) is None


def test_a_failure_is_told_while_it_stands() -> None:
    registry = CollectorRegistry()
    failure = {"reason": "NodeLost", "message": "Node a of pod b does not answer."}
    resources = [world.raw(STATUS | {"failure": failure})]
    registry.register(RunCollector(lambda: resources))
    labels = {"namespace": world.NAMESPACE, "name": world.NAME, "reason": "NodeLost"}
    assert value(registry, "sid_distillation_failure", **labels) == 1
    resources[:] = [world.raw(STATUS)]
    assert value(registry, "sid_distillation_failure", **labels) is None


def test_the_help_of_restarts_claims_no_failures() -> None:
    """Suspensions and changes of the spec count as well."""
    families = {family.name: family for family in RunCollector(list).collect()}
    assert "a suspension, a change" in families["sid_distillation_restarts"].documentation


async def test_requests_are_counted_with_their_answers() -> None:
    metrics = WorkMetrics()
    async with served() as (api, client):
        client._observe = metrics.requested
        api.faults.append(Fault(503))
        await client.list(JOBS, world.NAMESPACE)
    name = "sid_operator_api_request_seconds_count"
    for code in ("503", "200"):
        assert value(metrics.registry, name, resource="jobs", verb="GET", code=code) == 1


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        ("/apis/batch/v1/namespaces/team/jobs/run/status", "jobs"),
        ("/api/v1/namespaces/jobs/pods/run", "pods"),
        ("/apis/sid-dit.dev/v1alpha1/siddistillations", "siddistillations"),
        ("/api/v1", "discovery"),
    ],
)
def test_a_path_is_told_by_its_collection(path: str, resource: str) -> None:
    assert resource_in(path) == resource


async def test_metrics_are_served_as_prometheus_reads_them(unused_tcp_port: int) -> None:
    metrics = WorkMetrics()
    metrics.passed("done", 0.01)
    metrics.leading(acts=True)
    metrics.follow_queue(lambda: 3)
    url = f"http://127.0.0.1:{unused_tcp_port}"
    handler = exposition(metrics.registry)
    async with serving(handler, url, path=PATH), aiohttp.ClientSession() as session:
        async with session.get(f"{url}/metrics") as response:
            text = await response.text()
        assert response.headers["Content-Type"].startswith("text/plain")
    samples = {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["sid_operator_leading"] == 1
    assert samples["sid_operator_queue_depth"] == 3
    assert samples["sid_operator_reconcile_seconds_count"] == 1
