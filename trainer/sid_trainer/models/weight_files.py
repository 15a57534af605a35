"""Weights in the safetensors of one diffusers model folder, and which a network has of them.

Rules this module keeps:

* Files are mapped, and a tensor is read when it is asked for.
* What is missing, too much or of another shape is told by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.models.tensor_files import files_of_tensors, open_tensors, tensor_errors

_SINGLE = "diffusion_pytorch_model.safetensors"
_INDEX = f"{_SINGLE}.index.json"


class WeightFiles:
    """The safetensors of one diffusers model folder, by parameter name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file_of = _files_by_name(folder)
        self._open = ExitStack()
        self._handles: dict[str, Any] = {}
        self._read: set[str] = set()

    def __enter__(self) -> WeightFiles:
        return self

    def __exit__(self, *exc: object) -> None:
        self._open.close()

    def __contains__(self, name: object) -> bool:
        """Whether there is a tensor of this name."""
        return name in self._file_of

    def read(self, name: str, shape: torch.Size) -> Tensor:
        """One tensor as it is in the file.

        Raises:
            TrainerError: ``InvalidConfiguration`` when it is absent or of another shape; as
                :func:`~sid_trainer.models.tensor_files.tensor_errors`.
        """
        file = self._file_of.get(name)
        if file is None:
            raise _mismatch(self._folder, name, "is missing")
        if file not in self._handles:
            handle = open_tensors(self._folder / file)
            self._handles[file] = self._open.enter_context(handle)
        with tensor_errors(self._folder / file):
            tensor: Tensor = self._handles[file].get_tensor(name)
        if tensor.shape != shape:
            raise _mismatch(
                self._folder, name, f"has shape {tuple(tensor.shape)}, not {tuple(shape)}"
            )
        self._read.add(name)
        return tensor

    def refuse_others(self) -> None:
        """Raise where there are tensors that were not read: the network is of another architecture.

        Raises:
            TrainerError: ``InvalidConfiguration``, naming the first of them.
        """
        others = sorted(self._file_of.keys() - self._read)
        if others:
            what = f"is no part of it, one of {len(others)} such tensors"
            raise _mismatch(self._folder, others[0], what)


def persistent_buffers(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Buffers that a state dict has, by name. ZeRO does not partition buffers."""
    for prefix, owner in module.named_modules():
        for name, buffer in owner.named_buffers(recurse=False):
            if name not in owner._non_persistent_buffers_set:
                yield f"{prefix}.{name}" if prefix else name, buffer


def _files_by_name(folder: Path) -> dict[str, str]:
    if (folder / _INDEX).is_file():
        return files_of_tensors(folder / _INDEX)
    if not (folder / _SINGLE).is_file():
        raise TrainerError(
            FailureReason.NOT_FOUND,
            f"{folder.name}/{_SINGLE} is missing from the model: save it with save_pretrained",
        )
    with open_tensors(folder / _SINGLE) as handle:
        return dict.fromkeys(handle.keys(), _SINGLE)


def _mismatch(folder: Path, name: str, what: str) -> TrainerError:
    return TrainerError(
        FailureReason.INVALID_CONFIGURATION,
        f"the model's {folder.name} does not fit the teacher's architecture: {name} {what}",
    )
