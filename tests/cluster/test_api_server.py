"""The resource before a real API server: what it refuses and why, what it fills in, what it tells.

Requests are server-side dry runs wherever an object need not exist, and the API group is one that
no operator watches.
"""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import yaml

from sid_operator.api import names
from sid_operator.api.render import run_config
from sid_operator.api.spec import SiDDistillationSpec
from tests.cluster import definition, kubectl

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("api_group")]

Resource = dict[str, Any]
EXAMPLES = sorted((kubectl.REPOSITORY / "examples").glob("*.yaml"))
REMOVED = object()


def changed(document: Resource, changes: dict[str, Any]) -> Resource:
    """A copy with the values at dotted paths replaced, or removed (``REMOVED``)."""
    result = copy.deepcopy(document)
    for path, value in changes.items():
        *parents, last = path.split("/")
        node = result
        for name in parents:
            node = node.setdefault(name, {})
        if value is REMOVED:
            del node[last]
        else:
            node[last] = value
    return result


def resource(changes: dict[str, Any] | None = None) -> Resource:
    """A small valid resource with ``changes``."""
    minimal: Resource = {
        "apiVersion": definition.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": "case"},
        "spec": {
            "teacher": {"model": "organisation/model"},
            "data": {"prompts": {"uri": "s3://sid/prompts.txt"}},
            "checkpoint": {"bucket": "sid", "secretRef": {"name": "s3-credentials"}},
        },
    }
    return changed(minimal, changes or {})


def toleration(**fields: object) -> dict[str, Any]:
    return {"spec/workers/tolerations": [fields]}


def volume(**fields: object) -> dict[str, Any]:
    return {
        "spec/workers/volumes": [{"name": "m", "claimName": "c", "mountPath": "/mnt/m", **fields}]
    }


def variable(**fields: object) -> dict[str, Any]:
    return {"spec/workers/env": [{"name": "NCCL_DEBUG", "value": "INFO", **fields}]}


def metrics(**fields: object) -> dict[str, Any]:
    return {"spec/evaluation/metrics": {"clipScore": {"model": "openai/clip"}, **fields}}


def create(document: Resource) -> Resource:
    """What the server would store for ``document``."""
    told = kubectl.kubectl(
        "create", "--dry-run=server", "-o", "json", "-f", "-", stdin=json.dumps(document)
    )
    stored: Resource = json.loads(told)
    return stored


INVALID = {
    "no teacher": ({"spec/teacher": REMOVED}, "spec.teacher: Required value"),
    "no model": ({"spec/teacher/model": REMOVED}, "spec.teacher.model: Required value"),
    "no prompts": ({"spec/data": {}}, "spec.data.prompts: Required value"),
    "no bucket": ({"spec/checkpoint/bucket": REMOVED}, "spec.checkpoint.bucket: Required value"),
    "no keys": ({"spec/checkpoint/secretRef": REMOVED}, "checkpoint.serviceAccountName (a service"),
    "keys and a role": (
        {"spec/checkpoint/serviceAccountName": "trainer"},
        "are two ways to open it: give exactly one of them",
    ),
    "a service account of another namespace": (
        {
            "spec/checkpoint/secretRef": REMOVED,
            "spec/checkpoint/serviceAccountName": "kube-system/admin",
        },
        "must be the name of a Kubernetes object",
    ),
    "no spec": ({"spec": REMOVED}, "spec: Required value"),
    "unknown field": (
        {"spec/workers/nodez": 2},
        'strict decoding error: unknown field "spec.workers.nodez"',
    ),
    "pod settings": (
        {"spec/workers/serviceAccountName": "admin"},
        'unknown field "spec.workers.serviceAccountName"',
    ),
    "long name": ({"metadata/name": "n" * 51}, "at most 50 characters"),
    "dotted name": ({"metadata/name": "a.b"}, "begin with a letter and have no dots"),
    "name of a digit": ({"metadata/name": "35-medium"}, "begin with a letter"),
    "an architecture that is none": (
        {"spec/teacher/architecture": "organisation/model"},
        'supported values: "Efficient-Large-Model/',
    ),
    "room check": ({"spec/runPolicy/roomCheck": "Off"}, 'supported values: "Hold", "Warn"'),
    "unknown family": ({"spec/teacher/family": "dalle"}, 'supported values: "sd3"'),
    "url as model": ({"spec/teacher/model": "https://host/x"}, "must be a Hugging Face id"),
    "relative path": ({"spec/teacher/model": "./teacher"}, "must be a Hugging Face id"),
    "bucket as model": ({"spec/teacher/model": "s3://bucket"}, "s3://bucket/key"),
    "long model": ({"spec/teacher/model": "m" * 513}, "may not be more than 512"),
    "revision of a path": (
        {"spec/teacher/model": "/mnt/m", "spec/teacher/revision": "main"},
        "spec.teacher.revision: Invalid value",
    ),
    "bundle without TLS": (
        {
            "spec/checkpoint/endpoint": "http://minio:9000",
            "spec/checkpoint/caBundleRef": {"name": "authorities"},
        },
        "caBundleRef is for an endpoint with TLS: begin checkpoint.endpoint with https://",
    ),
    "bundle of another kind": (
        {"spec/checkpoint/caBundleRef": {"kind": "Pod", "name": "a"}},
        'supported values: "ConfigMap", "Secret"',
    ),
    "key with a path": (
        {"spec/checkpoint/caBundleRef": {"name": "a", "key": "../ca.crt"}},
        "must be a key of a ConfigMap or Secret",
    ),
    "unknown addressing": (
        {"spec/checkpoint/addressing": "host"},
        'supported values: "auto", "path", "virtual"',
    ),
    "bad region": ({"spec/checkpoint/region": "eu central"}, "must be the name of a region"),
    "bad secret name": (
        {"spec/teacher/tokenSecretRef": {"name": "A b"}},
        "must be the name of a Kubernetes object",
    ),
    "nine steps": ({"spec/student/steps": 9}, "should be less than or equal to 8"),
    "steps as text": ({"spec/student/steps": "4"}, 'must be of type integer: "string"'),
    "noise": ({"spec/student/noise": "pink"}, 'supported values: "fresh", "fixed", "ddim"'),
    "initFrom": ({"spec/student/initFrom": "ftp://x/y"}, "spec.student.initFrom"),
    "alpha": ({"spec/distillation/alpha": -0.1}, "should be greater than or equal to 0"),
    "weighting": ({"spec/distillation/weighting": "1-s"}, '"one-minus-sigma"'),
    "ZeroCFG with a scale": (
        {"spec/distillation/guidance": {"strategy": "ZeroCFG", "scale": 7}},
        "guidance.scale is not used by ZeroCFG, nor where the other scales are given: remove it",
    ),
    "a scale that all others replace": (
        {
            "spec/distillation/guidance": {
                "scale": 7,
                "fakeTrainingScale": 1,
                "fakeScale": 1,
                "teacherScale": 2,
            }
        },
        "guidance.scale is not used by ZeroCFG, nor where the other scales are given: remove it",
    ),
    "images by a relative path": (
        {"spec/distillation/adversarial": {}, "spec/data/images": {"uri": "images/s-{0..3}.tar"}},
        "must be s3://bucket/key, or an absolute path on a volume",
    ),
    "adversarial without images": (
        {"spec/distillation/adversarial": {}},
        "distillation.adversarial needs real images: give data.images",
    ),
    "images without adversarial": (
        {"spec/data/images": {"uri": "s3://sid/images"}},
        "data.images is read by data-aided training alone: add distillation.adversarial",
    ),
    "a student that never starts": (
        {
            "spec/distillation/adversarial": {},
            "spec/data/images": {"uri": "s3://sid/images"},
            "spec/training": {"iterations": 2, "batchSize": 8},
        },
        "adversarial.studentStartsAfterImages is not before the end of the run",
    ),
    "an adversarial part that never starts": (
        {
            "spec/distillation/adversarial": {"startsAfterImages": 500_000},
            "spec/data/images": {"uri": "s3://sid/images"},
        },
        "adversarial.startsAfterImages is not before the end of the run",
    ),
    "relative prompts": ({"spec/data/prompts/uri": "prompts.txt"}, "an absolute path on a volume"),
    "prompts of no dataset": (
        {"spec/data/prompts/uri": "hf://owner/name/a.csv"},
        "must be hf://datasets/OWNER/NAME@REVISION/PATH",
    ),
    "a column of text": (
        {"spec/data/prompts": {"uri": "s3://sid/p.txt.gz", "column": "caption"}},
        "column is given, but a .txt file has no columns: remove it",
    ),
    "a cache on the Hub": (
        {"spec/data/encodingCache": {"uri": "hf://datasets/o/n/"}},
        "must be s3://bucket/key, or an absolute path",
    ),
    "captions of no dataset": (
        {"spec/evaluation/metrics": {"captions": {"uri": "captions.txt"}}},
        "must be hf://datasets/OWNER/NAME@REVISION/PATH",
    ),
    "two lengths": (
        {"spec/training": {"iterations": 10, "images": 10}},
        "training.iterations and training.images are both set",
    ),
    "no iterations": ({"spec/training/iterations": 0}, "greater than or equal to 1"),
    "batch does not divide": (
        {"spec/training/batchSize": 12, "spec/workers/gpusPerNode": 8},
        "spec.training.batchSize: Invalid value: training.batchSize must be a multiple",
    ),
    "batch smaller than nodes on CPU": (
        {"spec/training/batchSize": 1, "spec/workers": {"nodes": 2, "gpusPerNode": 0}},
        "training.batchSize must be a multiple",
    ),
    "micro-batch does not divide": (
        {"spec/training": {"batchSize": 16, "microBatchSize": 3}},
        "training.microBatchSize must divide the share",
    ),
    "learning rate of 0": ({"spec/training/learningRate": 0}, "should be greater than 0"),
    "fp16": ({"spec/training/precision": "fp16"}, 'supported values: "fp32", "bf16"'),
    "nothing to offload": (
        {"spec/training/precision": "pure-bf16", "spec/deepspeed/offload": "optimizer"},
        "deepspeed.offload optimizer does not go with training.precision pure-bf16",
    ),
    "ZeRO-2": ({"spec/deepspeed/zeroStage": 2}, 'supported values: "3"'),
    "too many sample prompts": ({"spec/evaluation/prompts": ["p"] * 65}, "must have at most 64"),
    "bucket as URI": ({"spec/checkpoint/bucket": "s3://sid"}, "no s3:// and no path"),
    "prefix with slash": ({"spec/checkpoint/prefix": "/runs"}, "no '/' at the beginning"),
    "prefix ends with slash": ({"spec/checkpoint/prefix": "runs/"}, "no '/' at the beginning"),
    "prefix climbs": ({"spec/checkpoint/prefix": "a/../../b"}, "no name that begins with a dot"),
    "endpoint without scheme": ({"spec/checkpoint/endpoint": "minio:9000"}, "URL of an S3"),
    "endpoint with password": (
        {"spec/checkpoint/endpoint": "http://me:secret@minio:9000"},
        "without path, user or query",
    ),
    "keep nothing": ({"spec/checkpoint/keepLast": 0}, "greater than or equal to 1"),
    "keep the best of none": (
        {"spec/checkpoint/keepBest": 1, "spec/checkpoint/everyIterations": 5},
        "give evaluation.metrics.best, and evaluation.metrics.everyIterations as a multiple",
    ),
    "keep the best of what has no checkpoint": (
        {
            "spec/checkpoint/keepBest": 1,
            "spec/checkpoint/everyIterations": 5,
            **metrics(clipScore={"model": "a/b"}, best="clipScore", everyIterations=7),
        },
        "as a multiple of checkpoint.everyIterations",
    ),
    "no nodes": ({"spec/workers/nodes": 0}, "greater than or equal to 1"),
    "negative GPUs": ({"spec/workers/gpusPerNode": -1}, "greater than or equal to 0"),
    "image with spaces": ({"spec/workers/image": "a b"}, "must be an image reference"),
    "pull policy": ({"spec/workers/imagePullPolicy": "Sometimes"}, '"IfNotPresent"'),
    "GPUs as resource": (
        {"spec/workers/resources": {"limits": {"nvidia.com/gpu": 8}}},
        "GPUs are asked for by workers.gpusPerNode",
    ),
    "slices as resource": (
        {
            "spec/workers/gpuResource": "example.org/slice",
            "spec/workers/resources": {"limits": {"example.org/slice": 8}},
        },
        "GPUs are asked for by workers.gpusPerNode and workers.gpuResource",
    ),
    "CPUs as GPUs": ({"spec/workers/gpuResource": "cpu"}, "full name of an extended resource"),
    "GPUs from nowhere": (
        {"spec/workers/gpuResource": ""},
        "give workers.resourceClaims, or the resource",
    ),
    "claim without a source": (
        {"spec/workers/resourceClaims": [{"name": "gpus"}]},
        "a claim has one source",
    ),
    "claim with two sources": (
        {
            "spec/workers/resourceClaims": [
                {"name": "a", "resourceClaimName": "b", "resourceClaimTemplateName": "c"}
            ]
        },
        "a claim has one source",
    ),
    "claim twice": (
        {"spec/workers/resourceClaims": [{"name": "a", "resourceClaimName": "b"}] * 2},
        "Duplicate value",
    ),
    "Kubernetes' own as GPUs": (
        {"spec/workers/gpuResource": "x.kubernetes.io/gpu"},
        "is no extended resource",
    ),
    "odd quantity": (
        {"spec/workers/resources": {"requests": {"cpu": "a lot"}}},
        "spec.workers.resources.requests.cpu",
    ),
    "fraction as number": (
        {"spec/workers/resources": {"requests": {"cpu": 0.5}}},
        "spec.workers.resources.requests.cpu",
    ),
    "request above limit": (
        {"spec/workers/resources": {"requests": {"cpu": 2}, "limits": {"cpu": "1900m"}}},
        "a request is more than the limit",
    ),
    "extended resource without limit": (
        {"spec/workers/resources": {"requests": {"rdma/hca": 1}}},
        "give it under limits only",
    ),
    "hugepages without limit": (
        {"spec/workers/resources": {"requests": {"cpu": 1, "hugepages-2Mi": "1Gi"}}},
        "give it under limits only",
    ),
    "half of an extended resource": (
        {"spec/workers/resources": {"limits": {"rdma/hca": "500m"}}},
        "is counted in whole numbers",
    ),
    "hugepages alone": (
        {"spec/workers/resources": {"limits": {"hugepages-2Mi": "1Gi"}}},
        "together with cpu or memory",
    ),
    "unknown resource": (
        {"spec/workers/resources": {"limits": {"gpu": 1}}},
        "unknown resource: use cpu",
    ),
    "negative quantity": ({"spec/workers/sharedMemory": -1}, "spec.workers.sharedMemory"),
    "negative quantity as text": ({"spec/workers/sharedMemory": "-1"}, "spec.workers.sharedMemory"),
    "odd resource name": (
        {"spec/workers/resources": {"requests": {"a b": 1}}},
        "every key must be",
    ),
    "shared memory": ({"spec/workers/sharedMemory": "many"}, "spec.workers.sharedMemory"),
    "label value": ({"spec/workers/nodeSelector": {"zone": "a b"}}, "value of a label"),
    "label key": ({"spec/workers/nodeSelector": {"a b": "c"}}, "every key must be"),
    "Exists with value": (
        toleration(key="k", operator="Exists", value="v"),
        "value is not compared when operator is Exists",
    ),
    "Equal without key": (toleration(value="v"), "give the key of the taint"),
    "seconds of another effect": (
        toleration(key="k", value="v", effect="NoSchedule", tolerationSeconds=5),
        "tolerationSeconds is for effect NoExecute only",
    ),
    "volume over /etc": (volume(mountPath="/etc/sid"), "outside the folders of the system"),
    "volume climbs": (volume(mountPath="/mnt/../etc"), "must be an absolute path"),
    "volume at the root": (volume(mountPath="/"), "mountPath"),
    "volume of the host": (volume(hostPath={"path": "/"}), "unknown field"),
    "volume name": (volume(name="a_b"), "must be lower-case letters"),
    "variable name": (variable(name="A-B"), "must be the name of an environment variable"),
    "variable of the operator": (variable(name="AWS_PROFILE"), "is set by the operator"),
    "variable from a Secret": (variable(valueFrom={"secretKeyRef": {}}), "unknown field"),
    "variable twice": (
        {"spec/workers/env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]},
        "Duplicate value",
    ),
    "claim name": (volume(claimName="../x"), "must be the name of a Kubernetes object"),
    "queue name": ({"spec/scheduling/queueName": "a queue"}, "must be the value of a label"),
    "priority class": ({"spec/scheduling/priorityClassName": "High!"}, "name of a Kubernetes"),
    "class of the queue": (
        {"spec/scheduling/workloadPriorityClass": "very urgent"},
        "must be the value of a label",
    ),
    "label of the operator": (
        {"spec/labels": {"sid-dit.dev/distillation": "other"}},
        "is set by the operator",
    ),
    "annotation of the queue": (
        {"spec/annotations": {"kueue.x-k8s.io/job-min-parallelism": "1"}},
        "is set by the operator, the Job controller or the queue",
    ),
    "long annotation": ({"spec/annotations": {"a": "b" * 1025}}, "may not be more than 1024"),
    "negative retries": ({"spec/runPolicy/backoffLimit": -1}, "greater than or equal to 0"),
    "an end of its student": (
        {"spec/deletionPolicy": "Delete", "spec/runPolicy/ttlSecondsAfterFinished": 60},
        "would remove the student soon after it was made: remove one of them",
    ),
    "node affinity without values": (
        {"spec/workers/nodeAffinity": [{"key": "gpu"}]},
        "values do not fit the operator",
    ),
    "node affinity with too many values": (
        {"spec/workers/nodeAffinity": [{"key": "gpu", "operator": "Gt", "values": ["1", "2"]}]},
        "one whole number for Gt and",
    ),
    "topology without a key": (
        {"spec/scheduling/topology": "Required"},
        "give topologyKey, or remove topology",
    ),
    "negative time to live": (
        {"spec/runPolicy/ttlSecondsAfterFinished": -1},
        "greater than or equal to 0",
    ),
    "unknown deletion policy": (
        {"spec/deletionPolicy": "Orphan"},
        'supported values: "Retain", "Delete"',
    ),
    "no time": ({"spec/runPolicy/activeDeadlineSeconds": 0}, "greater than or equal to 1"),
    "metrics of nothing": ({"spec/evaluation/metrics": {"samples": 50}}, "measures nothing"),
    "distance to nothing": (metrics(fid={"features": "/mnt/i.pt"}), "compares with nothing"),
    "best by what is not measured": (
        metrics(fid={"features": "/mnt/i.pt", "teacher": True}, best="fid"),
        "best is a metric that is not measured",
    ),
    "teacher without steps": (
        metrics(fid={"features": "/mnt/i.pt", "teacher": True})
        | {"spec/evaluation/teacher": {"steps": 0}},
        "evaluation.teacher.steps is 0: give it steps",
    ),
    "teacher measured without steps": (
        metrics(clipScore={"model": "a/b"}, teacher=True)
        | {"spec/evaluation/teacher": {"steps": 0}},
        "evaluation.metrics.teacher needs samples of the teacher",
    ),
    "extractor by a relative path": (
        metrics(fid={"features": "i.pt", "teacher": True}),
        "an absolute path on a volume",
    ),
    "too few samples": (metrics(samples=1), "greater than or equal to 2"),
}


@pytest.mark.parametrize(("changes", "message"), INVALID.values(), ids=INVALID)
def test_invalid_resource_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(kubectl.CommandError) as refused:
        create(resource(changes))
    assert message in str(refused.value)


def test_two_volumes_need_two_names_and_two_paths() -> None:
    def two(**second: str) -> Resource:
        first = {"name": "a", "claimName": "c", "mountPath": "/mnt/a"}
        return resource({"spec/workers/volumes": [first, {**first, **second}]})

    create(two(name="b", mountPath="/mnt/b"))
    with pytest.raises(kubectl.CommandError, match="two volumes have the same mountPath"):
        create(two(name="b"))
    with pytest.raises(kubectl.CommandError, match="Duplicate value"):
        create(two(mountPath="/mnt/b"))


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
    assert without_empty(as_text(stored["spec"])) == without_empty(as_text(written))
    assert run_config(ours, "namespace", sent["metadata"]["name"]).teacher.model


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


def test_server_side_apply_refuses_unknown_fields() -> None:
    with pytest.raises(kubectl.CommandError, match="field not declared in schema"):
        kubectl.kubectl(
            *("apply", "--server-side", "--dry-run=server", "--validate=false", "-f", "-"),
            stdin=json.dumps(resource({"spec/workers/nodez": 2})),
        )


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
    "compile": {"spec/training/compile": True},
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
