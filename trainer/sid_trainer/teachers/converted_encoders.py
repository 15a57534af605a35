"""Text encoders that all ranks of a node share.

Weights that have the type they are used in are pages of their files: the loaders map safetensors,
so eight ranks hold one T5-XXL (9.5 GB), not eight. Weights of another type would be converted into
memory of each rank's own (SD3's encoders are stored as fp16 and used as bf16), so they are
converted once a node, file by file, into the cache folder, and mapped from there.

Rules this module keeps:

* The numbers are those that ``from_pretrained`` would make: the same conversion of the same files.
* Encoders are stored as safetensors.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.models.node_cache import locked, need_space
from sid_trainer.models.tensor_files import files_of_tensors, names_of, open_tensors
from sid_trainer.precision import STORED_DTYPES
from sid_trainer.process.environment import cache_root
from sid_trainer.teachers.text_parts import encoders_of

_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")

logger = logging.getLogger(__name__)


def shared_pipeline(directory: Path, dtype: torch.dtype) -> Path:
    """A directory like a pipeline's, without network and VAE, whose text encoders are of a type.

    The pipeline's own where they are. Else one in the cache, made by the first process of the node.

    Args:
        directory: the diffusers pipeline.
        dtype: type that the text encoders compute in.

    Raises:
        TrainerError: ``NotFound`` when an encoder has no safetensors, ``InvalidData`` when they
            are not whole, ``StorageUnavailable`` when there is no room.
    """
    files = [file for name in encoders_of(directory) for file in weight_files(directory / name)]
    if all(_stored_dtypes(file) <= {dtype} for file in files):
        return directory
    stats = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    name = hashlib.sha256(json.dumps([str(dtype), stats]).encode()).hexdigest()[:24]
    folder = cache_root() / "text-encoders" / name
    with locked(folder):
        if not folder.is_dir():
            _convert(directory, files, dtype, folder)
    return folder


def weight_files(folder: Path) -> list[Path]:
    """The safetensors of a text encoder.

    Raises:
        TrainerError: ``NotFound`` when it has none, ``InvalidData`` when its index is damaged.
    """
    single, index = (folder / name for name in _WEIGHTS)
    if index.is_file():
        return [folder / name for name in sorted(set(files_of_tensors(index).values()))]
    if not single.is_file():
        raise TrainerError(
            FailureReason.NOT_FOUND,
            f"teacher.model has no {folder.name}/{_WEIGHTS[0]}: save it with save_pretrained, "
            "which writes safetensors",
        )
    return [single]


def _stored_dtypes(file: Path) -> set[torch.dtype]:
    """Floating-point types of the tensors in a file, from its header."""
    with open_tensors(file) as tensors:
        kinds = {tensors.get_slice(name).get_dtype() for name in names_of(tensors)}
    dtypes = {STORED_DTYPES[kind] for kind in kinds & STORED_DTYPES.keys()}
    return {dtype for dtype in dtypes if dtype.is_floating_point}


def _convert(directory: Path, files: list[Path], dtype: torch.dtype, folder: Path) -> None:
    """Write the directory with encoders of another type; all else is linked."""
    size = sum(file.stat().st_size for file in files) * dtype.itemsize // 2
    need_space(folder.parent, size, f"the text encoders as {dtype}")
    logger.info("converting text encoders to %s for all ranks of this node", dtype)
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    encoders = {directory / name for name in encoders_of(directory)}
    for entry in directory.iterdir():
        target = partial / entry.name
        if entry not in encoders:
            partial.mkdir(parents=True, exist_ok=True)
            target.symlink_to(entry.resolve())
            continue
        target.mkdir(parents=True)
        for file in entry.iterdir():
            if file in files:
                _convert_file(file, target / file.name, dtype)
            elif file.suffix == ".json":
                shutil.copyfile(file, target / file.name)
    partial.rename(folder)


def _convert_file(source: Path, target: Path, dtype: torch.dtype) -> None:
    with open_tensors(source) as file:
        tensors = {name: file.get_tensor(name) for name in names_of(file)}
    converted = {
        name: tensor.to(dtype if tensor.is_floating_point() else None, copy=True)
        for name, tensor in tensors.items()
    }
    save_file(converted, target, metadata={"format": "pt"})
