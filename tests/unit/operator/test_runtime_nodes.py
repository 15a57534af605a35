"""Nodes in the controller: what of them is kept, who looks again, and doing without them."""

from __future__ import annotations

from typing import Any

import pytest

from sid_operator import reasons
from sid_operator.plan.ending import is_over
from sid_operator.plan.resource import resource_of
from sid_operator.resources.run import Installed
from sid_operator.runtime import nodes as module
from sid_operator.runtime.caches import Caches
from sid_operator.runtime.nodes import NodeStore
from sid_operator.runtime.store import Key
from tests.unit.operator import world
from tests.unit.operator.fake_api import Fault
from tests.unit.operator.plant import Plant, until

ON_GPUS: dict[str, Any] = {
    "teacher": {"model": "black-forest-labs/FLUX.1-dev"},
    "training": {"iterations": 500, "batchSize": 256, "microBatchSize": 1},
    "workers": {"gpusPerNode": 8, "image": world.IMAGE},
}


def node(name: str, memory: str, version: str = "1", **status: Any) -> dict[str, Any]:
    labels = {"nvidia.com/gpu.memory": memory, "pool": "red"}
    return {
        "metadata": {"name": name, "resourceVersion": version, "labels": labels},
        "spec": {"podCIDR": "10.0.0.0/24"},
        "status": {"allocatable": {"nvidia.com/gpu": "8", "cpu": "64"}} | status,
    }


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GATHER_SECONDS", 0.0)


def condition(plant: Plant) -> dict[str, Any]:
    """FitsMemory as the API server holds it, or nothing."""
    (resource,) = plant.api.of("siddistillations")
    conditions = resource["status"].get("conditions", [])
    return next((c for c in conditions if c["type"] == "FitsMemory"), {})


def test_a_nodes_heartbeat_concerns_nobody() -> None:
    store = NodeStore()
    assert store.nodes().problem == reasons.NODES_NOT_READ
    store.replace([node("a", "81559")], version=1)
    first = store.nodes()
    assert (first.problem, [n.memory for n in first.items]) == ("", [81559 * 2**20])
    assert store.put(node("a", "81559", "2", conditions=[{"type": "Ready"}])) is None
    assert store.nodes() is first
    assert store.put(node("a", "40960", "3")) == Key("", "a")
    assert [n.memory for n in store.nodes().items] == [40960 * 2**20]
    store.remove(node("a", "40960", "4"))
    assert store.nodes().items == ()


@pytest.mark.parametrize(
    ("phase", "conditions", "over"),
    [
        ("Running", {}, False),
        ("Succeeded", {}, False),  # forged, or left from a status that was cut short
        ("Running", {"Complete": "True"}, True),
        ("Failed", {"Failed": "True", "Complete": "False"}, True),
        ("Failed", {"Failed": "False"}, False),
        ("Running", {"Failed": "Unknown", "Running": "True"}, False),
    ],
)
def test_a_change_of_nodes_concerns_the_runs_that_planning_goes_on_with(
    phase: str, conditions: dict[str, str], over: bool
) -> None:
    told = [world.condition(kind, "Told", "", value) for kind, value in conditions.items()]
    obj = world.raw({"phase": phase, "conditions": told}, **ON_GPUS)
    assert is_over(resource_of(obj, Installed()).status) == over
    caches = Caches()
    caches.resources.put(obj)
    assert caches.unfinished_on_gpus() == ([] if over else [Key(world.NAMESPACE, world.NAME)])


async def test_a_larger_node_lets_a_held_run_go(plant: Plant) -> None:
    plant.api.put("nodes", node("small", "40960"))
    plant.start()
    plant.api.put("siddistillations", world.raw(**ON_GPUS))
    await until(lambda: condition(plant).get("reason") == reasons.TOO_LARGE)
    assert plant.api.of("jobs") == []
    plant.api.put("nodes", node("large", "143771"))
    await until(lambda: plant.api.of("jobs"))
    await until(lambda: condition(plant)["reason"] == reasons.DEPENDS_ON_NODE)


async def test_without_the_right_to_see_nodes_runs_go_on_and_are_told(plant: Plant) -> None:
    plant.api.faults = [Fault(403, plural="nodes")]
    controller = plant.start()
    plant.api.put("siddistillations", world.raw(**ON_GPUS))
    await until(lambda: plant.api.of("jobs"))
    await until(lambda: condition(plant).get("reason") == reasons.GPUS_UNKNOWN)
    assert "may not list nodes" in condition(plant)["message"]
    assert controller.check() == "acting"
    assert plant.api.requests[("GET", "nodes")] == 1
