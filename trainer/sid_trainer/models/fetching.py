"""Models and files by reference: a path, an ``s3://`` folder, or a Hugging Face id.

Rules this module keeps:

* One download a node (:mod:`sid_trainer.models.node_cache`).
* Weights are safetensors only; pickled ones are neither fetched nor accepted, and code that comes
  with a model is never run.
* Nothing is written below home: the cache is in ``SID_CACHE`` or the temporary folder.
* A reference that leads nowhere is told with itself and the remedy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

from sid_trainer.config.base import Family
from sid_trainer.config.endpoint import Server, endpoint_of
from sid_trainer.models.checking import (
    class_in,
    local_file,
    local_path,
    no_file,
    no_transformer,
    parent_and_name,
)
from sid_trainer.models.hub_models import (
    CONFIG,
    model_commit,
    model_from_hub,
    pipeline_commit,
    pipeline_from_hub,
)
from sid_trainer.models.node_cache import digest, downloaded, held
from sid_trainer.models.pipeline_index import INDEX, PICKLED, is_variant
from sid_trainer.models.reference import place_of
from sid_trainer.process.environment import cache_root
from sid_trainer.storage import open_storage
from sid_trainer.storage.base import not_found


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


def commit_of(
    reference: str,
    revision: str | None = None,
    family: Family | None = None,
    cache: Path | None = None,
) -> str | None:
    """The commit that a pipeline of the Hub has at a revision now; None for other models.

    Args:
        reference: as for :func:`fetch_model`.
        revision: the same.
        family: the pipeline is to be of; any by default.
        cache: where downloads go.

    Raises:
        TrainerError: as :func:`fetch_model`; ``InvalidConfiguration`` for another family.
    """
    if place_of(reference) != "hub":
        return None
    return pipeline_commit(reference, revision, (cache or cache_root()) / "models", family)


def folder_commit_of(reference: str, revision: str | None, cache: Path | None = None) -> str | None:
    """The commit that a transformers model of the Hub has at a revision now; None for others.

    Raises:
        TrainerError: as :func:`fetch_folder`.
    """
    if place_of(reference) != "hub":
        return None
    return model_commit(reference, revision, (cache or cache_root()) / "models")


def fetch_folder(
    reference: str,
    revision: str | None = None,
    endpoint: Server = None,
    cache: Path | None = None,
) -> Path:
    """Bring a transformers model, with its tokenizer and processor, to this node.

    Args:
        reference: a path, ``s3://bucket/key``, or a Hugging Face id.
        revision: git revision of a Hugging Face model.
        endpoint: the S3 server, or its URL; AWS when None.
        cache: where downloads go.

    Returns:
        A directory with ``config.json``.

    Raises:
        TrainerError: ``NotFound``, ``AccessDenied`` or ``StorageUnavailable``, with the reference.
    """
    root = (cache or cache_root()) / "models"
    download = partial(model_from_hub, reference, revision, root)
    folder = _brought(reference, endpoint, root, download)
    if not (folder / CONFIG).is_file():
        raise no_transformer(reference)
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
        yield local_file(uri)
        return
    parent, name = parent_and_name(uri)
    storage = open_storage(parent, endpoint)
    found = next((found for found in storage.list(name) if found.key == name), None)
    if found is None:
        raise no_file(uri)
    folder = (cache or cache_root()) / "files"
    place = folder / digest(uri, endpoint_of(endpoint).url, [found])
    with held(storage, [found], place):
        yield place / name


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
            return local_path(reference)
        case "hub":
            return from_hub()


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
    class_in(folder, reference, only)
    return folder
