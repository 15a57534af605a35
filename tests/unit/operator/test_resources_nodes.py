"""The builders: which nodes, GPUs and devices pods ask for."""

from __future__ import annotations

from typing import Any

import pytest

from sid_operator.resources.cleanup import cleanup_job
from sid_operator.resources.job import job
from tests.unit.operator import world
from tests.unit.operator.built import ALL_SET, container, pod_spec

EXISTS = {"operator": "Exists"}


def test_what_the_user_asks_of_nodes_is_passed_on() -> None:
    spec = pod_spec(**ALL_SET)
    assert spec["nodeSelector"] == {"gpu": "h100"}
    assert spec["tolerations"] == [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert (spec["schedulerName"], spec["priorityClassName"]) == ("other", "high")
    assert spec["imagePullSecrets"] == [{"name": "pull"}]
    (trainer,) = spec["containers"]
    assert trainer["imagePullPolicy"] == "Always"
    assert trainer["resources"] == {"limits": {"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": "8"}}
    assert trainer["args"] == ["launch", "--config", "/etc/sid/config.yaml"]
    mounts = {mount["mountPath"]: mount["name"] for mount in trainer["volumeMounts"]}
    assert mounts["/mnt/models"] == "claim-models"
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    assert volumes["shm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "16Gi"}
    assert set(mounts.values()) == set(volumes)


def test_devices_are_claimed_by_the_pod_and_given_to_the_trainer() -> None:
    claims = [
        {"name": "gpus", "resourceClaimTemplateName": "eight", "request": "whole"},
        {"name": "fabric", "resourceClaimName": "shared"},
    ]
    workers = {"gpusPerNode": 8, "gpuResource": "", "resourceClaims": claims, "image": world.IMAGE}
    spec = pod_spec(workers=workers, deletionPolicy="Delete")
    assert spec["resourceClaims"] == [
        {"name": "gpus", "resourceClaimTemplateName": "eight"},
        {"name": "fabric", "resourceClaimName": "shared"},
    ]
    (trainer,) = spec["containers"]
    assert trainer["resources"] == {
        "claims": [{"name": "gpus", "request": "whole"}, {"name": "fabric"}]
    }
    template = cleanup_job(world.run(workers=workers))["spec"]["template"]["spec"]
    assert "resourceClaims" not in template
    assert "resourceClaims" not in pod_spec()


def affinity(**spec: Any) -> dict[str, Any]:
    found: dict[str, Any] = pod_spec(**spec).get("affinity", {})
    return found


def test_pods_may_go_anywhere_unless_told() -> None:
    assert affinity() == {}


def test_labels_of_nodes_are_required() -> None:
    workers = world.raw()["spec"]["workers"]
    wanted = [{"key": "memory", "operator": "Gt", "values": ["79000"]}, {"key": "gpu"} | EXISTS]
    found = affinity(workers=workers | {"nodeAffinity": wanted})
    required = found["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    (term,) = required["nodeSelectorTerms"]
    assert term == {"matchExpressions": wanted}


@pytest.mark.parametrize("topology", ["Preferred", "Required"])
def test_pods_of_a_run_are_kept_together(topology: str) -> None:
    scheduling = {"topologyKey": "example.org/rack", "topology": topology, "queueName": "q"}
    found = affinity(scheduling=scheduling)["podAffinity"]
    (entry,) = found[f"{topology.lower()}DuringSchedulingIgnoredDuringExecution"]
    term = entry["podAffinityTerm"] if topology == "Preferred" else entry
    assert term["topologyKey"] == "example.org/rack"
    template = job(world.run(scheduling=scheduling))["spec"]["template"]
    selected = term["labelSelector"]["matchLabels"]
    assert selected.items() <= template["metadata"]["labels"].items(), "the run's own pods"
    assert template["metadata"]["annotations"] == {
        f"kueue.x-k8s.io/podset-{topology.lower()}-topology": "example.org/rack"
    }


def test_pods_without_gpus_ask_for_none() -> None:
    assert container()["resources"] == {}


def test_gpus_are_asked_for_by_the_name_that_the_nodes_give_them() -> None:
    slices = {"gpusPerNode": 1, "gpuResource": "nvidia.com/mig-3g.40gb", "image": world.IMAGE}
    assert container(workers=slices)["resources"] == {"limits": {"nvidia.com/mig-3g.40gb": "1"}}
    none = world.raw()["spec"]["workers"] | {"gpuResource": "amd.com/gpu"}
    assert container(workers=none)["resources"] == {}
