"""Failures of whole runs, each provoked for real, and told rightly.

Told means: ``status.failure`` names the cause, the condition Failed (where the run has ended) says
the same, an Event tells the remedy, and the failed pod is still there with its log. All runs are
started at once, as each takes a pod only for as long as it needs to fail.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import hub, install, kubectl, objects, runs

pytestmark = pytest.mark.cluster

POISONED = "teachers/poisoned"
MIRROR = [{"name": "HF_ENDPOINT", "value": "http://mirror"}]
TOKEN = "hf_AnotherOnesToken"


@dataclass(frozen=True)
class Case:
    """A run that fails.

    Attributes:
        reason: in status.failure.
        words: of its message: what is wrong, and the remedy.
        spec: laid over that of a small run of one pod.
        verdict: reason of the condition Failed; the failure's own where it cannot be cured.
    """

    reason: str
    words: tuple[str, ...]
    spec: dict[str, Any] = field(default_factory=dict)
    verdict: str = ""


CASES = {
    # Found out before torch is loaded.
    "storage": Case(
        "StorageUnavailable",
        ("http://minio.minio.svc:9 did not answer", "network policies"),
        {"checkpoint": {"endpoint": "http://minio.minio.svc:9"}},
        verdict="BackoffLimitExceeded",
    ),
    "credentials": Case(
        "AccessDenied",
        ("checkpoint.secretRef",),
        {"checkpoint": {"secretRef": {"name": "wrong-keys"}}},
    ),
    "bucket": Case(
        "NotFound",
        ("bucket s3://no-such-bucket", "create it"),
        {"checkpoint": {"bucket": "no-such-bucket"}},
    ),
    "setting": Case(
        "InvalidConfiguration",
        ("deepspeed.config", "training.precision"),
        {"deepspeed": {"config": {"bf16": {"enabled": True}}}},
    ),
    # Found out by a training process.
    "hub": Case(
        "StorageUnavailable",
        ("teacher.model", "Hugging Face Hub", "huggingface.co"),
        {"teacher": {"model": "nobody/no-model"}},
        verdict="BackoffLimitExceeded",
    ),
    "hub-without-model": Case(
        "NotFound",
        ("nobody/no-model", "correct the id, or give a token"),
        {"teacher": {"model": "nobody/no-model"}, "workers": {"env": MIRROR}},
    ),
    "hub-gated": Case(
        "AccessDenied",
        ("is gated", "accept its terms"),
        {"teacher": {"model": hub.GATED}, "workers": {"env": MIRROR}},
    ),
    "hub-token": Case(
        "AccessDenied",
        ("HTTP 401", "the token is wrong or has expired", "teacher.tokenSecretRef"),
        {
            "teacher": {"model": hub.PRIVATE, "tokenSecretRef": {"name": "hub-token"}},
            "workers": {"env": MIRROR},
        },
    ),
    "numbers": Case(
        "NumericalError",
        ("not finite in iteration 1", "training.learningRate"),
        {"teacher": {"model": f"s3://{objects.BUCKET}/{POISONED}"}},
    ),
    "host-memory": Case(
        "OutOfMemory",
        ("memory limit", "workers.resources"),
        {
            "workers": {
                "resources": {"requests": {"memory": "200Mi"}, "limits": {"memory": "200Mi"}}
            }
        },
    ),
    "device-memory": Case(
        "OutOfMemory",
        ("training.microBatchSize",),
        # A buffer that no address space holds: the allocator refuses it, as a full GPU's does.
        {"deepspeed": {"config": {"zero_optimization": {"reduce_bucket_size": 10**15}}}},
    ),
}


def small(namespace: str, name: str, **spec: Any) -> dict[str, Any]:
    """A run of one pod and few iterations, which gives up at its first failure."""
    base = {
        "training": {"iterations": 4, "batchSize": 4, "maxSkippedUpdates": 0},
        "runPolicy": {"backoffLimit": 0},
        "workers": {"nodes": 1, "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}}},
    }
    return runs.digits(namespace, name, **runs.merged(base, spec))


def poison(teacher: Path, folder: Path) -> None:
    """Put a copy of the teacher into the bucket in which one weight is not a number."""
    import torch  # noqa: PLC0415 - few tests need it
    from safetensors.torch import load_file, save_file  # noqa: PLC0415

    with objects.connect() as store:
        store.upload_folder(teacher, POISONED)
        (weights,) = (teacher / "transformer").glob("*.safetensors")
        tensors = load_file(weights)
        name = min(tensors)
        tensors[name] = torch.full_like(tensors[name], float("nan"))
        save_file(tensors, folder / weights.name, {"format": "pt"})
        store.upload_file(folder / weights.name, f"{POISONED}/transformer/{weights.name}")


@pytest.fixture(scope="module")
def failing(teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A namespace in which all runs were started."""
    poison(teacher, tmp_path_factory.mktemp("poisoned"))
    namespace = f"test-{uuid.uuid4().hex[:8]}"
    objects.copy_credentials(namespace)
    wrong = ("--from-literal=accessKey=wrong", "--from-literal=secretKey=wrong-too")
    kubectl.kubectl("create", "secret", "generic", "wrong-keys", "-n", namespace, *wrong)
    token = f"--from-literal=token={TOKEN}"
    kubectl.kubectl("create", "secret", "generic", "hub-token", "-n", namespace, token)
    kubectl.wait_for_account(namespace)
    kubectl.apply(*hub.manifests(namespace, install.local_images()["trainer"]))
    ready = "--for=condition=Ready"
    kubectl.kubectl("wait", "pod/mirror", "-n", namespace, ready, "--timeout=180s")
    kubectl.apply(*(small(namespace, name, **case.spec) for name, case in CASES.items()))
    yield namespace
    kubectl.kubectl("delete", "namespace", namespace, "--wait=false")
    with objects.connect() as store:
        store.remove_folder(f"distillations/{namespace}")


@pytest.mark.parametrize("name", CASES)
def test_a_failure_is_told(failing: str, name: str) -> None:
    case = CASES[name]
    resource = runs.wait_for(failing, name, "Failed", seconds=300)
    status = resource["status"]
    assert status["phase"] == "Failed"
    assert status["failure"]["reason"] == case.reason
    for words in case.words:
        assert words in status["failure"]["message"]
    failed = kubectl.condition(resource, "Failed")
    assert failed is not None
    assert failed["reason"] == (case.verdict or case.reason)
    assert status["failure"]["message"] in failed["message"]

    warnings = [message for kind, _, message in runs.events(failing, name) if kind == "Warning"]
    assert any(case.words[-1] in message for message in warnings)

    pod = status["failure"]["pod"]
    log = kubectl.kubectl("logs", "-n", failing, pod)
    assert case.reason in log
    assert TOKEN not in log
    (container,) = kubectl.get("pod", pod, "-n", failing)["status"]["containerStatuses"]
    assert case.reason in container["state"]["terminated"]["message"]
