"""What of a stored resource may be changed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cluster import kubectl
from tests.cluster.cases import REMOVED, Resource, changed, resource, variable

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("api_group")]

IMMUTABLE: dict[str, dict[str, Any]] = {
    "teacher.model": {"spec/teacher/model": "organisation/other"},
    "teacher.family": {"spec/teacher/family": "sd3"},
    "teacher.revision": {"spec/teacher/revision": REMOVED},
    "student.initFrom": {"spec/student/initFrom": "organisation/student"},
    "student.steps": {"spec/student/steps": 2},
    "distillation": {"spec/distillation/guidance": {"scale": 2}},
    "data.prompts": {"spec/data/prompts/uri": "s3://sid/other.txt"},
    "data.resolution": {"spec/data/resolution": 512},
    "training.batchSize": {"spec/training/batchSize": 512},
    "training.ema": {"spec/training/ema": {"halfLifeImages": 1}},
    "training.seed": {"spec/training/seed": 7},
    "checkpoint.bucket": {"spec/checkpoint/bucket": "other"},
    "checkpoint.prefix": {"spec/checkpoint/prefix": REMOVED},
    "checkpoint.endpoint": {"spec/checkpoint/endpoint": "http://other:9000"},
}
MUTABLE: dict[str, dict[str, Any]] = {
    "length": {"spec/training/iterations": 7_000_000},
    "memory": {
        "spec/training/microBatchSize": 1,
        "spec/training/gradientCheckpointing": False,
        "spec/deepspeed/offload": "optimizer",
        "spec/deepspeed/config": {"zero_optimization": {"reduce_bucket_size": 2}},
    },
    "kernels": {"spec/training/compile": True, "spec/training/attention": "torch"},
    "learning rates": {
        "spec/training/learningRate": 1e-7,
        "spec/training/fakeLearningRate": 1e-7,
        "spec/training/warmupIterations": 10,
        "spec/training/gradientClipping": 1,
    },
    "watchdog": {"spec/training/watchdogSeconds": 60, "spec/training/maxSkippedUpdates": 0},
    "export": {"spec/student/exportPrecision": "fp32"},
    "encodings": {"spec/data/encodingCache": {"uri": "/cache"}},
    "suspend": {"spec/runPolicy/suspend": True},
    "backoffLimit": {"spec/runPolicy/backoffLimit": 5},
    "ttlSecondsAfterFinished": {"spec/runPolicy/ttlSecondsAfterFinished": 5},
    "deletionPolicy": {"spec/deletionPolicy": "Delete"},
    "roomCheck": {"spec/runPolicy/roomCheck": "Warn"},
    "architecture": {"spec/teacher/architecture": "black-forest-labs/FLUX.1-dev"},
    "token": {"spec/teacher/tokenSecretRef": {"name": "token"}},
    "secret": {"spec/checkpoint/secretRef/name": "rotated"},
    "role": {
        "spec/checkpoint/secretRef": REMOVED,
        "spec/checkpoint/serviceAccountName": "trainer",
    },
    "nodes": {"spec/workers/nodes": 2},
    "gpusPerNode": {"spec/workers/gpusPerNode": 4},
    "gpuResource": {"spec/workers/gpuResource": "amd.com/gpu"},
    "image": {"spec/workers/image": "registry.example.org/trainer:2"},
    "every": {"spec/checkpoint/everyIterations": 5, "spec/evaluation/everyIterations": 5},
    "queue": {"spec/scheduling/queueName": "other"},
    "class": {"spec/scheduling/workloadPriorityClass": "other"},
    "labels": {"spec/labels": {"team": "red"}, "spec/annotations": {"a": "b"}},
    "resources": {"spec/workers/resources": {"limits": {"cpu": 2}}},
    "env": variable(value="WARN"),
}


def test_what_decides_the_run_is_immutable(namespace: str) -> None:
    original = resource(
        {
            "metadata/namespace": namespace,
            "spec/teacher/revision": "main",
            "spec/checkpoint/prefix": "runs",
            "spec/deepspeed/config": {"zero_optimization": {"reduce_bucket_size": 1}},
        }
    )
    kubectl.kubectl("create", "-f", "-", stdin=json.dumps(original))
    for field, changes in IMMUTABLE.items():
        with pytest.raises(kubectl.CommandError) as refused:
            replace(changed(original, changes))
        assert field in str(refused.value)
        assert "immutable, because" in str(refused.value)
    for changes in MUTABLE.values():
        replace(changed(original, changes))


def replace(document: Resource) -> None:
    command = ("replace", "--dry-run=server", "-o", "name", "-f", "-")
    kubectl.kubectl(*command, stdin=json.dumps(document))
