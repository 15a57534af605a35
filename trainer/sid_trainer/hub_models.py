"""Models from the Hugging Face Hub.

Rules this module keeps:

* Of a repository only what is needed is fetched: safetensors, configuration, tokenizers, licence.
* All files are of one commit, also when a branch moves meanwhile.
* Downloads are shared by the processes of a node (:mod:`sid_trainer.node_cache`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sid_trainer.hub import token, told_of_hub
from sid_trainer.node_cache import digest, locked
from sid_trainer.pipeline_index import INDEX
from sid_trainer.storage.base import not_found

CONFIG = "config.json"
"""What the directory of a transformers model has."""
_SUFFIXES = (".json", ".safetensors", ".txt", ".model")
_LICENCE = ("README.md", "LICENSE*")
"""What the student's model card and licence are taken from."""
_VARIANTS = ["*.fp16.*", "*.bf16.*", "*.non_ema.*"]


def pipeline_from_hub(reference: str, revision: str | None, root: Path) -> Path:
    """Download a repository that holds a diffusers pipeline."""
    with _asking(reference, revision, root):
        return _snapshot(reference, revision, root / "hub")


def pipeline_commit(reference: str, revision: str | None, root: Path) -> str:
    """The commit that a revision of such a repository is now; its index alone is fetched."""
    with _asking(reference, revision, root):
        return _index(reference, revision, root / "hub").parent.name


@contextmanager
def _asking(reference: str, revision: str | None, root: Path) -> Iterator[None]:
    """One process of a node at a time, with the Hub's refusals told."""
    what = reference + (f" at revision {revision}" if revision else "")
    no_index = not_found(f"{what}/{INDEX}", "give the id of a diffusers pipeline")
    with (
        told_of_hub(what, "teacher.revision", no_index),
        locked(root / digest(reference, revision, [])),
    ):
        yield


def model_from_hub(reference: str, root: Path) -> Path:
    """Download a repository that holds one transformers model."""
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - only then

    no_config = not_found(f"{reference}/{CONFIG}", "give the id of a transformers model")
    with (
        told_of_hub(reference, "the revision", no_config),
        locked(root / digest(reference, None, [])),
    ):
        return Path(
            snapshot_download(
                reference,
                cache_dir=root / "hub",
                token=token(),
                allow_patterns=[f"*{suffix}" for suffix in _SUFFIXES],
                ignore_patterns=[*_VARIANTS, "*/*"],
            )
        )


def _snapshot(reference: str, revision: str | None, cache: Path) -> Path:
    """Download what the index names: repositories hold other formats and variants besides."""
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - only then

    index = _index(reference, revision, cache)
    components = [name for name in json.loads(index.read_bytes()) if not name.startswith("_")]
    wanted = [f"{name}/*{suffix}" for name in components for suffix in _SUFFIXES]
    return Path(
        snapshot_download(
            reference,
            revision=index.parent.name,
            cache_dir=cache,
            token=token(),
            allow_patterns=[INDEX, *_LICENCE, *wanted],
            ignore_patterns=_VARIANTS,
        )
    )


def _index(reference: str, revision: str | None, cache: Path) -> Path:
    """The pipeline's index; the Hub's client puts it into a folder named by its commit."""
    from huggingface_hub import hf_hub_download  # noqa: PLC0415 - only then

    return Path(
        hf_hub_download(reference, INDEX, revision=revision, cache_dir=cache, token=token())
    )
