"""Resources that the API server must refuse: what is wrong with each, and words of the answer."""

from __future__ import annotations

from typing import Any

from tests.cluster.cases import REMOVED, metrics, variable, volume


def toleration(**fields: object) -> dict[str, Any]:
    return {"spec/workers/tolerations": [fields]}


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
    "revision of a judge in a bucket": (
        metrics(preference={"model": "s3://bucket/key", "revision": "main"}),
        "preference.revision: Invalid value",
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
