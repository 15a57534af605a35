"""Text encoders that all ranks of a node share, and what their encodings depend on.

Weights that have the type they are used in are pages of their files: the loaders map safetensors,
so eight ranks hold one T5-XXL (9.5 GB), not eight. Weights of another type would be converted into
memory of each rank's own (SD3's encoders are stored as fp16 and used as bf16), so they are
converted once a node, file by file, into the cache folder, and mapped from there.

Rules this module keeps:

* The numbers are those that ``from_pretrained`` would make: the same conversion of the same files.
* Encoders are stored as safetensors.
* Encoders visit the accelerator once for any number of prompts (:func:`encode_in_batches`).
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file
from torch import Tensor

from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.method.conditions import Condition
from sid_trainer.models.node_cache import locked, need_space
from sid_trainer.models.pipeline_index import INDEX
from sid_trainer.models.tensor_files import files_of_tensors, names_of, open_tensors
from sid_trainer.precision import STORED_DTYPES
from sid_trainer.process.environment import cache_root
from sid_trainer.storage.base import not_found
from sid_trainer.storage.path_errors import open_path
from sid_trainer.teachers.loading_errors import told_of_loading

ENCODER_BATCH = 16
"""Prompts that the text encoders take at a time."""
TEXT_ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")
"""Where stock pipelines have text encoders: as many of these as they have encoders."""
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_VOCABULARIES = (("tokenizer.json",), ("vocab.json", "merges.txt"))
_LIBRARIES = ("diffusers", "transformers")
_WHOLE = "give the whole pipeline, as save_pretrained writes it"

logger = logging.getLogger(__name__)


def encode_in_batches(
    prompts: Sequence[str],
    encode: Callable[[list[str]], Mapping[str, Tensor]],
    kind: Callable[[str], object] = lambda _: None,
) -> Condition:
    """Encode any number of prompts; row i of the result, which is in host memory, is prompt i.

    Args:
        prompts: at least one.
        encode: encodes a batch: tensors ``[B, ...]``, anywhere.
        kind: prompts of one batch are of one kind.
    """
    whole: dict[str, Tensor] = {}
    for numbers in _batches([kind(prompt) for prompt in prompts]):
        for name, part in encode([prompts[number] for number in numbers]).items():
            if name not in whole:
                whole[name] = part.new_empty(len(prompts), *part.shape[1:], device="cpu")
            whole[name][torch.tensor(numbers)] = part.cpu()
    return Condition(whole)


def text_pipeline(pipeline: Any, directory: Path, dtype: torch.dtype, **components: Any) -> Any:
    """A stock pipeline with its text encoders and tokenizers, without VAE.

    Args:
        pipeline: its class.
        directory: where it lies.
        dtype: type that the text encoders compute in.
        components: what else it gets, or is told to be absent.

    Raises:
        TrainerError: ``NotFound`` when an encoder's config or a tokenizer's vocabulary is absent,
            ``InvalidData`` when an encoder lacks weights; as :func:`shared_pipeline` and
            :func:`~sid_trainer.teachers.loading_errors.told_of_loading`.
    """
    _require_parts(directory)
    shared = shared_pipeline(directory, dtype)
    with told_of_loading("text encoders and tokenizers"):
        encoders = {name: _encoder(shared, name, dtype) for name in _encoders(shared)}
        return pipeline.from_pretrained(
            shared, vae=None, dtype=dtype, local_files_only=True, **encoders, **components
        )


def shared_pipeline(directory: Path, dtype: torch.dtype, cache: Path | None = None) -> Path:
    """A directory like a pipeline's, without network and VAE, whose text encoders are of a type.

    The pipeline's own where they are. Else one in the cache, made by the first process of the node.

    Args:
        directory: the diffusers pipeline.
        dtype: type that the text encoders compute in.
        cache: where it goes; :func:`~sid_trainer.process.environment.cache_root` by default.

    Raises:
        TrainerError: ``NotFound`` when an encoder has no safetensors, ``InvalidData`` when they
            are not whole, ``StorageUnavailable`` when there is no room.
    """
    files = [file for name in _encoders(directory) for file in weight_files(directory / name)]
    if all(_stored_dtypes(file) <= {dtype} for file in files):
        return directory
    stats = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    name = hashlib.sha256(json.dumps([str(dtype), stats]).encode()).hexdigest()[:24]
    folder = (cache or cache_root()) / "text-encoders" / name
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


def encoder_identity(directory: Path, cache: Path | None = None) -> dict[str, str]:
    """What encodings depend on in a pipeline: content of text encoders and tokenizers, libraries.

    The content is read once a node, and remembered for as long as the files are unchanged.

    Args:
        directory: the diffusers pipeline.
        cache: where it is remembered.
    """
    files = sorted(
        file
        for name in (*_components(directory, "text_encoder"), *_components(directory, "tokenizer"))
        for file in (directory / name).rglob("*")
        if file.is_file()
    )
    stats = [(str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    name = hashlib.sha256(json.dumps(stats).encode()).hexdigest()[:24]
    known = (cache or cache_root()) / "identities" / name
    with locked(known):
        if not known.is_file():
            digests = [(str(f.relative_to(directory)), _content(f)) for f in files]
            partial = known.with_name(name + ".partial")
            partial.write_text(hashlib.sha256(json.dumps(digests).encode()).hexdigest())
            partial.rename(known)
    versions = {library: importlib.metadata.version(library) for library in _LIBRARIES}
    return {"encoders": known.read_text(), **versions}


def _batches(kinds: Sequence[object]) -> Iterator[list[int]]:
    """Numbers of prompts, those of one kind together, a batch at a time."""
    for kind in dict.fromkeys(kinds):
        alike = [number for number, other in enumerate(kinds) if other == kind]
        for start in range(0, len(alike), ENCODER_BATCH):
            yield alike[start : start + ENCODER_BATCH]


def _components(directory: Path, start: str) -> list[str]:
    """Components of a pipeline whose names start so, without those that it leaves out."""
    return sorted(
        name
        for name, of in _index(directory).items()
        if name.startswith(start) and of[0] is not None
    )


def _index(directory: Path) -> dict[str, Any]:
    index: dict[str, Any] = json.loads((directory / INDEX).read_text(encoding="utf-8"))
    return index


def _encoders(directory: Path) -> list[str]:
    return _components(directory, "text_encoder")


def _encoder(directory: Path, name: str, dtype: torch.dtype) -> Any:
    """A text encoder with all its weights: in the place of absent ones the library has noise."""
    _, kind = _index(directory)[name]
    loader = getattr(transformers, kind)
    encoder, told = loader.from_pretrained(
        directory / name, dtype=dtype, local_files_only=True, output_loading_info=True
    )
    if missing := sorted(told["missing_keys"]):
        raise TrainerError(
            FailureReason.INVALID_DATA,
            f"teacher.model's {name} lacks {len(missing)} of its weights, such as {missing[0]}: "
            f"{_WHOLE}",
        )
    return encoder


def _require_parts(directory: Path) -> None:
    """Raise ``NotFound`` for a part in whose place transformers would take one of its own.

    Without its config an encoder gets the class's own; without its vocabulary a tokenizer has one
    of a few special tokens, and makes them of all prompts.
    """
    for folder in (directory / name for name in _encoders(directory)):
        if not (folder / "config.json").is_file():
            raise not_found(f"teacher.model's {folder.name}/config.json", _WHOLE)
    for folder in (directory / name for name in _components(directory, "tokenizer")):
        known = any(all((folder / name).is_file() for name in names) for names in _VOCABULARIES)
        if not known and not any(folder.glob("*.model")):
            what = f"the vocabulary of teacher.model's {folder.name} (tokenizer.json)"
            raise not_found(what, _WHOLE)


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
    encoders = {directory / name for name in _encoders(directory)}
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


def _content(file: Path) -> str:
    with open_path(file, str(file)) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
