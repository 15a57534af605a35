"""Safetensors of a model on this node's disk: opened, or told by their path why they cannot be.

Rules this module keeps:

* A pointer that git-LFS left, a copy that broke off and a part that is absent are told as such, for
  good: no retry mends them, and none of them is taken for a lack of memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.storage.base import not_found
from sid_trainer.storage.path_errors import open_path, path_errors


@contextmanager
def open_tensors(path: Path) -> Iterator[Any]:
    """A ``safe_open`` of a file, mapped; tensors are torch's.

    Raises:
        TrainerError: as :func:`tensor_errors`.
    """
    with tensor_errors(path), safe_open(path, framework="pt") as tensors:
        yield tensors


@contextmanager
def tensor_errors(path: Path) -> Iterator[None]:
    """Turn what is said of a file of tensors within the block into our errors.

    Raises:
        TrainerError: ``NotFound`` when the file is absent, ``InvalidData`` when it is no whole
            safetensors or lacks a tensor that is asked for; as
            :func:`~sid_trainer.storage.path_errors.path_errors`.
    """
    with path_errors("read", str(path)):
        try:
            yield
        except FileNotFoundError as error:
            raise not_found(str(path), "fetch the model again, whole") from error
        except SafetensorError as error:
            raise _damaged(path, "safetensors", error) from error


def names_of(tensors: Any) -> list[str]:
    """The names in an open file of tensors, which is no mapping."""
    return list(tensors.keys())


def files_of_tensors(index: Path) -> dict[str, str]:
    """Names of the files by the names of the tensors that they hold, from ``*.index.json``.

    Raises:
        TrainerError: ``InvalidData`` when it is damaged.
    """
    try:
        with open_path(index, str(index)) as file:
            found = json.load(file)["weight_map"]
        return {str(name): str(of) for name, of in found.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(index, "index of safetensors", error) from error


def _damaged(path: Path, kind: str, error: Exception) -> TrainerError:
    return TrainerError(
        FailureReason.INVALID_DATA,
        f"{path} is no whole {kind} (a git-LFS pointer? a broken copy?): fetch it again ({error})",
    )
