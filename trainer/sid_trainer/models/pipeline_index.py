"""The JSON of a diffusers pipeline: model_index.json, whether all it names is there, configs.

It imports no torch: what is missing is told before anything is downloaded or loaded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from sid_trainer.config.families import family_of
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.storage.base import not_found

INDEX = "model_index.json"
NETWORK = "transformer"
"""The component that is trained."""
PICKLED = (".bin", ".ckpt", ".pt", ".pth", ".pkl", ".msgpack", ".h5", ".onnx")
"""Ends of the names of weights that are not safetensors: reading them may run code."""
_VARIANT = re.compile(
    r"(model|diffusion_pytorch_model)(-\d+-of-\d+)?\.(?!safetensors)[\w.-]+\.safetensors"
    r"|.*\.safetensors\.index\.\w+\.json"
)


def check_pipeline(
    index: bytes, has_folder: Callable[[str], bool], reference: str, only: str | None = None
) -> str:
    """Look whether a pipeline is whole, and of a known family; return its class.

    Args:
        index: its model_index.json.
        has_folder: tells whether the pipeline has a folder.
        reference: the pipeline, as the user wrote it.
        only: the one component that is needed; all by default.

    Raises:
        TrainerError: ``InvalidData`` when the index names no pipeline class,
            ``InvalidConfiguration`` when it names one that cannot be distilled, ``NotFound`` when
            the folder of a component is missing.
    """
    name = class_of(index, reference)
    family_of(name, reference=reference)
    for component in components_of(index, reference, only):
        if not has_folder(component):
            raise not_found(
                f"{reference.rstrip('/')}/{component}, a part of the pipeline in {INDEX},",
                "give the whole directory, as save_pretrained writes it",
            )
    return name


def read_index(directory: Path, reference: str = "teacher.model") -> dict[str, Any]:
    """The model_index.json of a pipeline that is here.

    Args:
        directory: the pipeline.
        reference: the same for messages.

    Raises:
        TrainerError: ``NotFound`` when there is none, ``InvalidData`` when it names no pipeline
            class.
    """
    try:
        index = (directory / INDEX).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise TrainerError(
            FailureReason.NOT_FOUND,
            f"{reference} has no {INDEX}: give the directory of a diffusers pipeline",
        ) from error
    return _entries(index, reference)


def component_config(
    directory: Path, component: str, reference: str = "teacher.model"
) -> dict[str, Any]:
    """The config.json of a component of a pipeline.

    Args:
        directory: the pipeline.
        component: its folder.
        reference: the pipeline for messages.

    Raises:
        TrainerError: ``NotFound`` when the pipeline lacks it, ``InvalidData`` when it is damaged.
    """
    try:
        text = (directory / component / "config.json").read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise TrainerError(
            FailureReason.NOT_FOUND,
            f"{reference} has no {component}/config.json: give the whole directory of a "
            "diffusers pipeline, as save_pretrained writes it",
        ) from error
    try:
        config: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise TrainerError(
            FailureReason.INVALID_DATA,
            f"{reference}'s {component}/config.json is not JSON ({error}): download it again",
        ) from error
    return config


def components_of(index: bytes, reference: str, only: str | None = None) -> list[str]:
    """The components that a pipeline has, from its model_index.json.

    Args:
        index: its content.
        reference: the pipeline, as the user wrote it.
        only: the one that is needed; all by default.

    Raises:
        TrainerError: ``InvalidData`` when it names no pipeline class.
    """
    entries = _entries(index, reference)
    there = [component for component, value in entries.items() if _is_present(component, value)]
    return there if only is None else [component for component in there if component == only]


def class_of(index: bytes, reference: str) -> str:
    """The pipeline's class; see :func:`components_of`."""
    return str(_entries(index, reference)["_class_name"])


def _entries(index: bytes, reference: str) -> dict[str, Any]:
    try:
        entries: dict[str, Any] = json.loads(index)
        entries["_class_name"]
    except (ValueError, KeyError, TypeError) as error:
        raise TrainerError(
            FailureReason.INVALID_DATA,
            f"{reference}/{INDEX} does not name a pipeline class: is the download whole?",
        ) from error
    return entries


def is_variant(name: str) -> bool:
    """Whether a file has weights, or their index, that a plain ``from_pretrained`` leaves alone."""
    return bool(_VARIANT.fullmatch(PurePosixPath(name).name))


def _is_present(component: str, value: object) -> bool:
    """Whether an entry of the index is a component that the pipeline has: [library, class]."""
    return not component.startswith("_") and isinstance(value, list) and value[:1] != [None]
