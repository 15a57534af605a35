"""``plan``: pods that no scheduler looks at are told with who is to be asked, once it lasts."""

from __future__ import annotations

from typing import Any

import pytest

from sid_operator.plan.model import Plan
from sid_operator.runtime.trim import trim_pod
from tests.unit.operator import world

GATE = {"schedulingGates": [{"name": "kueue.x-k8s.io/topology"}]}
GATED = world.condition("PodScheduled", "SchedulingGated", "blocked by gates", status="False")
ELSEWHERE = {"schedulerName": "volcanoo"}
CLAIMS: dict[str, Any] = {
    "workers": {
        "nodes": 2,
        "gpusPerNode": 0,
        "image": world.IMAGE,
        "resourceClaims": [{"name": "gpus", "resourceClaimName": "eight"}],
    }
}
DEFAULT = {"schedulerName": "default-scheduler"}


def planned(pod: dict[str, Any], of: dict[str, Any], *, age: float) -> Plan:
    """The plan where the first pod is as given, and the other runs."""
    pods = (world.unplaced(0, age=age, **pod), world.ready(1))
    return world.first(world.observed(world.run(**of), pods=pods), **of)


@pytest.mark.parametrize(
    ("pod", "of", "reason", "words"),
    [
        (GATE | {"held": GATED}, {}, "SchedulingGated", "its gate kueue.x-k8s.io/topology:"),
        (GATE | ELSEWHERE, {}, "SchedulingGated", "its gate kueue.x-k8s.io/topology:"),
        (ELSEWHERE, {}, "NoScheduler", 'The scheduler "volcanoo" has told nothing of pod'),
        (ELSEWHERE, CLAIMS, "NoScheduler", "Or is a ResourceClaim missing"),
        (DEFAULT, CLAIMS, "ResourceClaimMissing", "ResourceClaim that workers.resourceClaims"),
    ],
)
def test_silence_about_a_pod_is_told_after_a_minute(
    pod: dict[str, Any], of: dict[str, Any], reason: str, words: str
) -> None:
    young = planned(pod, of, age=59)
    assert young.status.failure is None
    assert young.look_again_after == 1
    old = planned(pod, of, age=60)
    assert world.told(old)["PodsReady"] == ("False", reason)
    assert old.status.failure is not None
    assert (old.status.failure.reason, old.status.failure.pod) == (reason, "digits-0-a")
    assert words in old.status.failure.message
    assert old.look_again_after == (60 if of else 600)  # claims are asked about


def test_the_clusters_own_scheduler_is_not_complained_of_by_each_resource() -> None:
    away = planned(DEFAULT, {}, age=600)
    assert away.status.failure is None
    assert away.look_again_after == 600


def test_what_keeps_a_pod_from_the_scheduler_is_kept_in_the_cache() -> None:
    obj = world.raw_pod(0) | {"spec": {**GATE, **ELSEWHERE, "containers": []}}
    assert trim_pod(obj)["spec"] == {**GATE, **ELSEWHERE}
