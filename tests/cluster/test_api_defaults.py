"""What a real API server takes, and what it fills in: the same as the models."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from sid_operator.api import names
from sid_operator.api.render import run_config
from sid_operator.api.spec import SiDDistillationSpec
from tests.cluster import definition, kubectl
from tests.cluster.cases import create, metrics, resource, variable, volume

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("api_group")]

EXAMPLES = sorted((kubectl.REPOSITORY / "examples").glob("*.yaml"))
VALID: dict[str, dict[str, Any]] = {
    "minimal": {},
    "longest name": {"metadata/name": "n" * 50},
    "model on a volume": {"spec/teacher/model": "/mnt/models/sd3", **volume()},
    "model in a bucket": {"spec/teacher/model": "s3://sid/teachers/digits"},
    "revision": {"spec/teacher/revision": "main", "spec/teacher/family": "sd3"},
    "prompts of a dataset": {
        "spec/data/prompts": {"uri": "hf://datasets/o/n@refs%2Fpr%2F1/d/*.parquet", "column": "c"}
    },
    "prompts in a folder": {
        "spec/data/prompts/uri": "s3://sid/prompts/",
        "spec/data/encodingCache": {"uri": "s3://sid/encodings"},
    },
    "ZeroCFG": {"spec/distillation/guidance": {"strategy": "ZeroCFG"}},
    "scales of their own": {
        "spec/distillation/guidance": {"scale": 7, "fakeTrainingScale": 1, "fakeScale": -1}
    },
    "metrics": metrics(
        fid={"features": "/mnt/i.pt", "images": {"uri": "s3://sid/coco"}, "teacher": True},
        clipScore={"model": "openai/clip-vit-large-patch14"},
        preference={"model": "s3://sid/models/hps"},
        captions={"uri": "/mnt/captions.txt"},
        teacher=True,
        everyIterations=500,
        best="fidTeacher",
    ),
    "data-aided": {
        "spec/distillation/adversarial": {},
        "spec/data/images": {"uri": "s3://sid/images/shard-{000..099}.tar"},
    },
    "data-aided, with its own length": {
        "spec/distillation/adversarial": {
            "pooling": "channel",
            "startsAfterImages": 0,
            "studentStartsAfterImages": 15,
        },
        "spec/data/images": {"uri": "s3://sid/images"},
        "spec/training": {"iterations": 2, "batchSize": 8},
    },
    "CPU": {"spec/workers": {"nodes": 2, "gpusPerNode": 0}, "spec/training/batchSize": 6},
    "slices of GPUs": {
        "spec/workers": {
            "gpusPerNode": 1,
            "gpuResource": "nvidia.com/mig-3g.40gb",
            "resources": {"limits": {"rdma/hca": "1"}},
        }
    },
    "hugepages": {
        "spec/workers/resources": {
            "requests": {"memory": "2Gi"},
            "limits": {"hugepages-2Mi": "1Gi", "rdma/hca": "1e1"},
        }
    },
    "claimed GPUs": {
        "spec/workers": {
            "gpuResource": "",
            "resourceClaims": [
                {"name": "gpus", "resourceClaimTemplateName": "eight", "request": "whole"},
                {"name": "fabric", "resourceClaimName": "shared"},
            ],
        }
    },
    "no GPUs and no resource": {"spec/workers": {"gpusPerNode": 0, "gpuResource": ""}},
    "micro-batch": {"spec/training": {"batchSize": 16, "microBatchSize": 1, "iterations": 5}},
    "deepspeed": {"spec/deepspeed/config": {"zero_optimization": {"reduce_bucket_size": 1}}},
    "offload": {"spec/deepspeed": {"offload": "optimizer"}},
    "pure bf16": {
        "spec/training": {"precision": "pure-bf16", "learningRate": 1e-5, "gradientClipping": 1}
    },
    "empty sections": {"spec/training": {}, "spec/workers": {}, "spec/distillation": {}},
    "prefix": {"spec/checkpoint/prefix": "team_a/runs.v2", "spec/checkpoint/keepLast": 1},
    "keep the best": {
        "spec/checkpoint/keepBest": 1,
        "spec/checkpoint/everyIterations": 5,
        **metrics(clipScore={"model": "a/b"}, best="clipScore", everyIterations=10),
    },
    "endpoint": {"spec/checkpoint/endpoint": "http://minio.minio.svc:9000"},
    "resources": {
        "spec/workers/resources": {
            "requests": {"cpu": 1, "memory": "1.5Gi", "rdma/hca": 1},
            "limits": {"cpu": "1000m", "memory": "2e9", "rdma/hca": "1"},
        }
    },
    "variables": variable(),
    "tolerations": {
        "spec/workers/tolerations": [
            {"operator": "Exists"},
            {"key": "k", "value": "v", "effect": "NoExecute", "tolerationSeconds": 30},
        ],
        "spec/workers/nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"},
    },
    "scheduling": {
        "spec/scheduling": {
            "queueName": "team-a",
            "workloadPriorityClass": "urgent",
            "priorityClassName": "high",
        },
        "spec/workers/imagePullSecrets": [{"name": "registry"}],
        "spec/workers/image": "localhost:5000/sid@sha256:0123",
    },
    "labels of everything": {
        "spec/labels": {"team": "red", "example.org/cost-centre": ""},
        "spec/annotations": {"example.org/contact": "red@example.org"},
        "spec/workers/podLabels": {"team": "blue"},
    },
    "quantity as number": {"spec/workers/sharedMemory": 1073741824},
}


@pytest.mark.parametrize("changes", VALID.values(), ids=VALID)
def test_server_and_models_fill_in_the_same_defaults(changes: dict[str, Any]) -> None:
    sent = resource(changes)
    stored = create(sent)
    ours = SiDDistillationSpec.model_validate(sent["spec"])
    assert SiDDistillationSpec.model_validate(stored["spec"]) == ours
    written = ours.model_dump(by_alias=True, exclude_none=True, mode="json")
    for spec in (stored["spec"], written):
        drop_defaults_of_items(spec)
    assert without_empty(as_text(stored["spec"])) == without_empty(as_text(written))
    assert run_config(ours, "namespace", sent["metadata"]["name"]).teacher.model


def drop_defaults_of_items(spec: dict[str, Any]) -> None:
    """Those of items of lists, which the models alone fill in, are removed in place."""
    defaults = {"tolerations": ("operator", "Equal"), "volumes": ("readOnly", True)}
    for name, (field, default) in (defaults | {"nodeAffinity": ("operator", "In")}).items():
        for item in spec["workers"].get(name, []):
            if item.get(field) == default:
                del item[field]


def as_text(value: Any) -> Any:
    """Quantities may be numbers in the server's answer, and are texts in the models."""
    if isinstance(value, dict):
        return {
            key: str(part) if key in ("sharedMemory", "cpu", "rdma/hca") else as_text(part)
            for key, part in value.items()
        }
    return [as_text(part) for part in value] if isinstance(value, list) else value


def without_empty(value: Any) -> Any:
    """``value`` without empty lists and objects, which mean the same as absent ones."""
    if not isinstance(value, dict):
        return value
    parts = {key: without_empty(part) for key, part in value.items()}
    return {key: part for key, part in parts.items() if part not in ({}, [])}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_is_accepted(path: Any) -> None:
    for document in yaml.safe_load_all(path.read_text()):
        if document.get("kind") != names.KIND:
            continue
        stored = create({**document, "apiVersion": definition.API_VERSION})
        spec = SiDDistillationSpec.model_validate(document["spec"])
        assert SiDDistillationSpec.model_validate(stored["spec"]) == spec
