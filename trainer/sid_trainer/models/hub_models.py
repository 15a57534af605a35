"""Models from the Hugging Face Hub.

Rules this module keeps:

* Of a repository only what is needed is fetched: safetensors, configuration, tokenizers, licence;
  of weights in several variants the plain one.
* A pipeline that cannot be distilled, or a node without room for one, is told before weights are
  fetched.
* All files are of one commit, also when a branch moves meanwhile.
* Downloads are shared by the processes of a node (:mod:`sid_trainer.models.node_cache`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sid_trainer.config.base import Family
from sid_trainer.config.families import family_of
from sid_trainer.models.hub import hub_errors, token
from sid_trainer.models.node_cache import digest, locked, need_space
from sid_trainer.models.pipeline_index import INDEX, class_of, components_of
from sid_trainer.storage.base import not_found

CONFIG = "config.json"
"""What the directory of a transformers model has."""
_FILES = (
    "*.json",
    "*.txt",
    "*.model",
    *(
        f"{name}{part}.safetensors"
        for name in ("model", "diffusion_pytorch_model")
        for part in ("", "-*-of-*")
    ),
)
"""Of a component. Names of other weights belong to variants, such as ``model.fp16-…``."""
_LICENCE = ("README.md", "LICENSE*")
"""What the student's model card and licence are taken from."""
_VARIANTS = ["*.safetensors.index.*.json", "*-of-*.*.safetensors"]


@dataclass(frozen=True)
class _Kind:
    """A kind of repository.

    Attributes:
        file: that each has.
        remedy: where one has not.
        revision: the setting that names it.
    """

    file: str
    remedy: str
    revision: str


_PIPELINE = _Kind(INDEX, "give the id of a diffusers pipeline", "teacher.revision")
_MODEL = _Kind(CONFIG, "give the id of a transformers model", "the revision")


def pipeline_from_hub(
    reference: str, revision: str | None, root: Path, only: str | None = None
) -> Path:
    """Download a repository that holds a diffusers pipeline, or only one component of it."""
    with _asking(reference, revision, root, _PIPELINE):
        return _snapshot(reference, revision, root / "hub", only)


def pipeline_commit(
    reference: str, revision: str | None, root: Path, family: Family | None = None
) -> str:
    """The commit that a revision of such a repository is now; its index alone is fetched.

    Raises:
        TrainerError: ``InvalidConfiguration`` for a pipeline of another family.
    """
    with _asking(reference, revision, root, _PIPELINE):
        index = _first(reference, INDEX, revision, root / "hub")
        family_of(class_of(index.read_bytes(), reference), family, reference)
        return index.parent.name


def model_from_hub(reference: str, revision: str | None, root: Path) -> Path:
    """Download a repository that holds one transformers model."""
    with _asking(reference, revision, root, _MODEL):
        return _files(reference, revision, root / "hub", list(_FILES), [*_VARIANTS, "*/*"])


def model_commit(reference: str, revision: str | None, root: Path) -> str:
    """The commit that a revision of such a repository is now; its config alone is fetched."""
    with _asking(reference, revision, root, _MODEL):
        return _first(reference, CONFIG, revision, root / "hub").parent.name


@contextmanager
def _asking(reference: str, revision: str | None, root: Path, kind: _Kind) -> Iterator[None]:
    """One process of a node at a time, with the Hub's refusals told."""
    what = reference + (f" at revision {revision}" if revision else "")
    with (
        hub_errors(what, kind.revision, not_found(f"{what}/{kind.file}", kind.remedy), root),
        locked(root / digest(reference, revision, [])),
    ):
        yield


def _snapshot(reference: str, revision: str | None, cache: Path, only: str | None) -> Path:
    """Download what the index names: repositories hold other formats and variants besides."""
    index = _first(reference, INDEX, revision, cache)
    family_of(class_of(index.read_bytes(), reference), reference=reference)
    components = components_of(index.read_bytes(), reference, only)
    wanted = [f"{name}/{file}" for name in components for file in _FILES]
    return _files(reference, index.parent.name, cache, [INDEX, *_LICENCE, *wanted], _VARIANTS)


def _files(
    reference: str, revision: str | None, cache: Path, wanted: list[str], unwanted: list[str]
) -> Path:
    """Download files by patterns; return their folder."""
    from huggingface_hub import snapshot_download

    missing = _missing_bytes(reference, revision, cache, wanted, unwanted)
    need_space(cache, missing, reference)
    return Path(
        snapshot_download(
            reference,
            revision=revision,
            cache_dir=cache,
            token=token(),
            allow_patterns=wanted,
            ignore_patterns=unwanted,
        )
    )


def _missing_bytes(
    reference: str, revision: str | None, cache: Path, wanted: list[str], unwanted: list[str]
) -> int:
    """Bytes that are still to be fetched; 0 where the Hub does not tell: the download will."""
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        filter_repo_objects,
    )

    try:
        info = HfApi(token=token()).model_info(reference, revision=revision, files_metadata=True)
    except (OSError, HTTPError):
        return 0
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}
    return sum(
        sizes[name]
        for name in filter_repo_objects(
            list(sizes), allow_patterns=wanted, ignore_patterns=unwanted
        )
        if not isinstance(
            try_to_load_from_cache(reference, name, cache_dir=cache, revision=info.sha), str
        )
    )


def _first(reference: str, file: str, revision: str | None, cache: Path) -> Path:
    """The file to begin with; the Hub's client puts it into a folder named by its commit."""
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(reference, file, revision=revision, cache_dir=cache, token=token()))
