"""Reading the file given by ``--config``: YAML in, a checked :class:`RunConfig` out.

Rules this module keeps:

* It imports no torch, so that a bad file is told before anything heavy starts.
* Every error is one line a field: its path as in the file, what is wrong, and what to write
  instead, the nearest known name included.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from sid_trainer.config.run import RunConfig
from sid_trainer.contract import FailureReason, TrainerError

MAX_LINES = 8
"""Errors that are shown at most: a termination message is short."""
RESOURCE = "SiDDistillation"
_KEYS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in your shell"
_INSTEAD = {
    "workers": "launch",
    "checkpoint.bucket": "storage.uri",
    "checkpoint.prefix": "storage.uri",
    "checkpoint.endpoint": "storage.endpoint",
    "checkpoint.region": "storage.region",
    "checkpoint.addressing": "storage.addressing",
    "checkpoint.caBundleRef": "storage.caBundle",
    "checkpoint.secretRef": _KEYS,
    "checkpoint.serviceAccountName": _KEYS,
    "teacher.tokenSecretRef": "HF_TOKEN in your shell",
}
"""What a file has in place of a resource's fields."""


def load_config(path: Path) -> RunConfig:
    """Read and check a configuration file.

    Raises:
        TrainerError: ``InvalidConfiguration``, naming the file and each wrong field.
    """
    data = _read_yaml(path)
    if data.get("kind") == RESOURCE:
        raise _invalid(
            f"{path} is a resource for kubectl apply: for a run without Kubernetes write the "
            "sections of its spec at the top of a file, with storage and launch in place of "
            "checkpoint.bucket and workers (docs/local-runs.md)"
        )
    try:
        return RunConfig.model_validate(data)
    except ValidationError as error:
        raise TrainerError(
            FailureReason.INVALID_CONFIGURATION, f"{path}: {describe(error, RunConfig)}"
        ) from error


def dump_config(config: RunConfig) -> str:
    """The resolved configuration as YAML, every default written out."""
    return yaml.safe_dump(config.model_dump(mode="json", by_alias=True), sort_keys=False)


def describe(error: ValidationError, model: type[BaseModel]) -> str:
    """Validation errors as readable lines, joined by semicolons."""
    lines = [_line(detail, model) for detail in error.errors(include_url=False)]
    more = [f"and {len(lines) - MAX_LINES} more"] if len(lines) > MAX_LINES else []
    return "; ".join(lines[:MAX_LINES] + more)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _invalid(f"cannot read the configuration {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise _invalid(f"{path} is not UTF-8 text") from error
    except yaml.YAMLError as error:
        raise _invalid(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise _invalid(f"{path} does not hold a mapping of settings such as 'teacher: …'")
    return data


def _invalid(message: str) -> TrainerError:
    return TrainerError(FailureReason.INVALID_CONFIGURATION, message)


def _line(detail: ErrorDetails, model: type[BaseModel]) -> str:
    location = detail["loc"]
    path = ".".join(str(part) for part in location)
    if detail["type"] == "extra_forbidden":
        if path in _INSTEAD:
            return f"{path}: a field of resources only; use {_INSTEAD[path]} in a file"
        near = difflib.get_close_matches(str(location[-1]), _fields_at(model, location[:-1]), n=1)
        return f"{path}: unknown field" + (f"; did you mean {near[0]}?" if near else "")
    if detail["type"] == "missing":
        return f"{path}: required, but not given"
    message = detail["msg"].removeprefix("Value error, ")
    if not path:
        return message
    if isinstance(detail["input"], dict | list):
        return f"{path}: {message}"
    return f"{path}: {message}, not {detail['input']!r}"


def _fields_at(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """Names that a file may use at a place; empty where anything goes."""
    current: type[BaseModel] | None = model
    for part in location:
        if current is None:
            break
        current = next(
            (_submodel(f.annotation) for f in current.model_fields.values() if f.alias == part),
            None,
        )
    return [f.alias or "" for f in current.model_fields.values()] if current else []


def _submodel(annotation: Any) -> type[BaseModel] | None:
    """The model in an annotation such as ``Section`` or ``Section | None``."""
    options = (
        typing.get_args(annotation)
        if typing.get_origin(annotation) in (typing.Union, types.UnionType)
        else (annotation,)
    )
    models = [o for o in options if isinstance(o, type) and issubclass(o, BaseModel)]
    return models[0] if models else None
