"""What a real API server tells of a resource: its columns, its status, its explanations."""

from __future__ import annotations

import json

import pytest

from tests.cluster import definition, kubectl
from tests.cluster.cases import resource

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("api_group")]


def test_status_is_a_subresource_with_columns(namespace: str) -> None:
    told = {
        "phase": "Running",
        "restarts": 1,
        "progress": {"iteration": 120, "iterations": 400, "percent": 30, "eta": "1m0s"},
        "metrics": {"generatorLoss": -0.25, "fid": 21.5},
        "completionTime": "2026-01-01T00:00:00Z",
        "student": {"uri": "s3://sid/x/student"},
        "conditions": [
            {
                "type": "Complete",
                "status": "True",
                "reason": "Exported",
                "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }
        ],
    }
    sent = resource({"metadata/namespace": namespace, "status": told})
    kubectl.kubectl("create", "-f", "-", stdin=json.dumps(sent))
    target = ("-n", namespace, definition.RESOURCE, "case")
    assert "status" not in kubectl.get(*target)
    patch = ("patch", *target, "--subresource=status", "--type=merge", "-p")
    kubectl.kubectl(*patch, json.dumps({"status": told}))
    assert kubectl.get(*target)["status"] == told
    header, row = kubectl.kubectl("get", *target, "-o", "wide").splitlines()
    columns = "NAME TEACHER PHASE ITERATION PROGRESS RESTARTS AGE LOSS FID ETA STUDENT"
    assert header.split() == columns.split()
    shown = row.split()
    assert shown[:6] == ["case", "organisation/model", "Running", "120", "30", "1"]
    assert shown[7:] == ["-0.25", "21.5", "1m0s", "s3://sid/x/student"]
    for end in ("condition=Complete", "jsonpath={.status.completionTime}"):
        kubectl.kubectl("wait", *target, f"--for={end}", "--timeout=5s")
    with pytest.raises(kubectl.CommandError, match="supported values"):
        kubectl.kubectl(*patch, json.dumps({"status": {"phase": "Lost"}}))


@pytest.mark.parametrize(
    ("field", "texts"),
    {
        "spec.distillation.guidance": ["Default: 4.5. Range: 0 to 30.", "enum: LSG, ZeroCFG"],
        "spec.workers": ["GPUs of each pod. 0 trains on CPU", "Default: 8. Range: 0 to 64."],
        "spec.checkpoint": ["bucket <string> -required-", "It must exist."],
        "spec.runPolicy.suspend": ["stops the run and frees its nodes"],
        "status.conditions": ["(iterations are made)"],
        "status.progress": ["at the present pace"],
    }.items(),
)
def test_explain_tells_meaning_default_and_range(field: str, texts: list[str]) -> None:
    explained = definition.explain(field)
    for text in texts:
        assert text in explained
