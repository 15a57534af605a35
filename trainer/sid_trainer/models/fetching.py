"""Models and files by reference: a path, an ``s3://`` folder, or a Hugging Face id.

Rules this module keeps:

* One download a node (:mod:`sid_trainer.models.node_cache`).
* Weights are safetensors only; pickled ones are neither fetched nor accepted, and code that comes
  with a model is never run.
* Nothing is written below home: the cache is in ``SID_CACHE`` or the temporary folder.
* A reference that leads nowhere is told with itself and the remedy.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

from sid_trainer.config.endpoint import Server, endpoint_of
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.models.hub_models import CONFIG, model_from_hub, pipeline_commit, pipeline_from_hub
from sid_trainer.models.node_cache import digest, downloaded, held
from sid_trainer.models.pipeline_index import INDEX, PICKLED, check_pipeline, is_variant
from sid_trainer.models.reference import place_of
from sid_trainer.process.environment import cache_root
from sid_trainer.storage import open_storage
from sid_trainer.storage.base import not_found
from sid_trainer.storage.path_errors import not_readable


def fetch_model(
    reference: str,
    revision: str | None = None,
    endpoint: Server = None,
    cache: Path | None = None,
    only: str | None = None,
) -> Path:
    """Bring a diffusers pipeline to this node.

    Args:
        reference: a path, ``s3://bucket/key``, or a Hugging Face id.
        revision: git revision of a Hugging Face model.
        endpoint: the S3 server, or its URL; AWS when None.
        cache: where downloads go; :func:`~sid_trainer.process.environment.cache_root` by default.
        only: the one component that is needed; all by default.

    Returns:
        A directory with ``model_index.json``.

    Raises:
        TrainerError: ``NotFound``, ``AccessDenied`` or ``StorageUnavailable``, with the reference.
    """
    root = (cache or cache_root()) / "models"
    download = partial(pipeline_from_hub, reference, revision, root, only)
    return _pipeline(_brought(reference, endpoint, root, download, only), reference, only)


def commit_of(reference: str, revision: str | None, cache: Path | None = None) -> str | None:
    """The commit that a Hugging Face model has at a revision now; None for other models.

    Raises:
        TrainerError: as :func:`fetch_model`.
    """
    if place_of(reference) != "hub":
        return None
    return pipeline_commit(reference, revision, (cache or cache_root()) / "models")


def fetch_folder(reference: str, endpoint: Server = None, cache: Path | None = None) -> Path:
    """Bring a transformers model, with its tokenizer and processor, to this node.

    Args:
        reference: a path, ``s3://bucket/key``, or a Hugging Face id.
        endpoint: the S3 server, or its URL; AWS when None.
        cache: where downloads go.

    Returns:
        A directory with ``config.json``.

    Raises:
        TrainerError: ``NotFound``, ``AccessDenied`` or ``StorageUnavailable``, with the reference.
    """
    root = (cache or cache_root()) / "models"
    folder = _brought(reference, endpoint, root, partial(model_from_hub, reference, root))
    if not (folder / CONFIG).is_file():
        raise _no_transformer(reference)
    return folder


def fetch_file(uri: str, endpoint: Server = None, cache: Path | None = None) -> Path:
    """Bring one file to this node.

    Args:
        uri: a path or ``s3://bucket/key``.
        endpoint: the S3 server, or its URL; AWS when None.
        cache: where downloads go.

    Raises:
        TrainerError: ``NotFound``, ``AccessDenied`` or ``StorageUnavailable``, naming the file.
    """
    with _held_file(uri, endpoint, cache) as path:
        return path


def open_file(uri: str, endpoint: Server = None, cache: Path | None = None) -> BinaryIO:
    """As :func:`fetch_file`, but open: it can be read when another process removes it."""
    with _held_file(uri, endpoint, cache) as path:
        return path.open("rb")


@contextmanager
def _held_file(uri: str, endpoint: Server, cache: Path | None) -> Iterator[Path]:
    """A file on this node, which nobody removes from its cache within the block."""
    if not uri.startswith("s3://"):
        yield _local_file(uri)
        return
    parent, name = _parent_and_name(uri)
    storage = open_storage(parent, endpoint)
    found = next((found for found in storage.list(name) if found.key == name), None)
    if found is None:
        raise _no_file(uri)
    folder = (cache or cache_root()) / "files"
    place = folder / digest(uri, endpoint_of(endpoint).url, [found])
    with held(storage, [found], place):
        yield place / name


def check_model(reference: str, endpoint: Server = None, only: str | None = None) -> str | None:
    """Look whether a pipeline is there, without fetching it. A Hugging Face id is not asked for.

    Args:
        reference: a path, ``s3://bucket/key``, or a Hugging Face id.
        endpoint: the S3 server, or its URL; AWS when None.
        only: the one component that is needed; all by default.

    Returns:
        The pipeline's class; None where the Hub would have to be asked.

    Raises:
        TrainerError: as :func:`fetch_model`.
    """
    match place_of(reference):
        case "s3":
            storage = open_storage(reference, endpoint)
            keys = [found.key for found in storage.list()]
            if INDEX not in keys:
                raise _no_pipeline(reference)
            folders = {key.partition("/")[0] for key in keys}
            return check_pipeline(storage.get_bytes(INDEX), folders.__contains__, reference, only)
        case "path":
            return _checked(_local(reference), reference, only)
        case "hub":
            return None


def check_folder(reference: str, endpoint: Server = None) -> None:
    """Look whether a transformers model is there, without fetching it. The Hub is not asked.

    Raises:
        TrainerError: as :func:`fetch_folder`.
    """
    match place_of(reference):
        case "s3":
            there = open_storage(reference, endpoint).exists(CONFIG)
        case "path":
            there = (_local(reference) / CONFIG).is_file()
        case "hub":
            there = True
    if not there:
        raise _no_transformer(reference)


def check_file(uri: str, endpoint: Server = None) -> None:
    """Look whether a file is there, without fetching it.

    Raises:
        TrainerError: as :func:`fetch_file`.
    """
    if not uri.startswith("s3://"):
        _local_file(uri)
        return
    parent, name = _parent_and_name(uri)
    if not open_storage(parent, endpoint).exists(name):
        raise _no_file(uri)


def _no_pipeline(reference: str) -> TrainerError:
    return not_found(
        f"{reference.rstrip('/')}/{INDEX}",
        "give the directory of a diffusers pipeline, as save_pretrained writes it",
    )


def _no_transformer(reference: str) -> TrainerError:
    return not_found(
        f"{reference.rstrip('/')}/{CONFIG}",
        "give the directory of a transformers model, as save_pretrained writes it",
    )


def _no_file(uri: str) -> TrainerError:
    return not_found(uri, "upload it there, or correct the address")


def _brought(
    reference: str,
    endpoint: Server,
    root: Path,
    from_hub: Callable[[], Path],
    only: str | None = None,
) -> Path:
    """The folder that a reference names, wherever it is."""
    match place_of(reference):
        case "s3":
            return _from_s3(reference, endpoint, root, only)
        case "path":
            return _local(reference)
        case "hub":
            return from_hub()


def _local(reference: str) -> Path:
    path = Path(reference.removeprefix("file://"))
    if path.exists():
        return path
    hint = "" if path.is_absolute() else ", or give a Hugging Face id such as owner/name"
    raise not_found(f"{reference}", f"check the path and that its volume is mounted{hint}")


def _local_file(uri: str) -> Path:
    path = _local(uri)
    if not path.is_file():
        raise TrainerError(
            FailureReason.INVALID_CONFIGURATION, f"{uri} is not a file: give the file itself"
        )
    if not os.access(path, os.R_OK):
        raise not_readable(uri)
    return path


def _parent_and_name(uri: str) -> tuple[str, str]:
    """Folder and last segment of the ``s3://`` address of an object."""
    parent, _, name = uri.rpartition("/")
    if not name or parent == "s3:/":
        raise TrainerError(
            FailureReason.INVALID_CONFIGURATION,
            f"{uri} names no object: give s3://bucket/key with the key of the file",
        )
    return parent, name


def _from_s3(reference: str, endpoint: Server, root: Path, only: str | None) -> Path:
    storage, url = open_storage(reference, endpoint), endpoint_of(endpoint).url
    objects = [found for found in storage.list() if _is_needed(found.key, only)]
    if not objects:
        where = f" at {url}" if url else ""
        raise not_found(
            f"{reference}{where}", "upload the pipeline's directory there, or correct the address"
        )
    return downloaded(storage, objects, root / digest(reference, url, objects))


def _is_needed(key: str, only: str | None) -> bool:
    """Whether an object of a model is fetched: no pickles, and of weights the plain variant."""
    wanted = only is None or key == INDEX or key.startswith(f"{only}/")
    return wanted and not key.endswith(PICKLED) and not is_variant(key)


def _pipeline(folder: Path, reference: str, only: str | None = None) -> Path:
    """The folder, checked to hold a pipeline."""
    _checked(folder, reference, only)
    return folder


def _checked(folder: Path, reference: str, only: str | None) -> str:
    """The class of the pipeline that a folder holds."""
    index = folder / INDEX
    if not index.is_file():
        raise _no_pipeline(reference)
    index_bytes = index.read_bytes()
    return check_pipeline(index_bytes, lambda name: (folder / name).is_dir(), reference, only)
