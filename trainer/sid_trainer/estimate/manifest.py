"""The run in a file: the trainer's configuration, or a ``SiDDistillation`` as users write it.

A resource's spec is the trainer's sections and Kubernetes' own; only what sizes depend on is taken
over. Whether the rest is right is for the API server to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from sid_trainer.config import RunConfig
from sid_trainer.config.file import describe, load_config
from sid_trainer.contract import FailureReason, TrainerError

KIND = "SiDDistillation"
_KUBERNETES = ("workers", "scheduling", "runPolicy", "labels", "annotations", "deletionPolicy")
_SERVER = ("endpoint", "region", "addressing")
_GPUS_PER_NODE = 8


def load_run(path: Path) -> RunConfig:
    """Read a run.

    Raises:
        TrainerError: ``InvalidConfiguration``, naming the file and each wrong field.
    """
    resource = _resource(path)
    if resource is None:
        return load_config(path)
    try:
        return RunConfig.model_validate(run_sections(resource))
    except ValidationError as error:
        message = f"{path}: {describe(error, RunConfig)}"
        raise TrainerError(FailureReason.INVALID_CONFIGURATION, message) from error


def run_sections(resource: Mapping[str, Any]) -> dict[str, Any]:
    """The trainer's sections of a resource."""
    spec = dict(resource.get("spec") or {})
    workers = dict(spec.get("workers") or {})
    teacher = dict(spec.get("teacher") or {})
    checkpoint = dict(spec.get("checkpoint") or {})
    teacher.pop("tokenSecretRef", None)
    teacher["model"] = teacher.pop("architecture", None) or teacher.get("model")
    bucket = checkpoint.pop("bucket", "bucket")
    server = {name: checkpoint.pop(name) for name in _SERVER if name in checkpoint}
    for name in ("prefix", "secretRef", "serviceAccountName", "caBundleRef"):
        checkpoint.pop(name, None)
    gpus = int(workers.get("gpusPerNode", _GPUS_PER_NODE))
    shared = {name: value for name, value in spec.items() if name not in _KUBERNETES}
    return {
        **shared,
        "name": dict(resource.get("metadata") or {}).get("name", "run"),
        "teacher": teacher,
        "checkpoint": checkpoint,
        "storage": {"uri": f"s3://{bucket}", **server},
        "launch": {
            "nodes": int(workers.get("nodes", 1)),
            "processesPerNode": max(gpus, 1),
            "device": "cuda" if gpus else "cpu",
        },
    }


def _resource(path: Path) -> Mapping[str, Any] | None:
    """The first resource of our kind in the file, if it holds any."""
    try:
        documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None  # told by load_config
    of_kind = (d for d in documents if isinstance(d, dict) and d.get("kind") == KIND)
    return next(of_kind, None)
