"""Which components of a stock pipeline are for text."""

from __future__ import annotations

from pathlib import Path

from sid_trainer.models.pipeline_index import read_index

TEXT_ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")
"""Where stock pipelines have text encoders: as many of these as they have encoders."""

_VOCABULARIES = (("tokenizer.json",), ("vocab.json", "merges.txt"))


def encoders_of(directory: Path) -> dict[str, str]:
    """Class by name of a pipeline's text encoders, without those that it leaves out."""
    return _components(directory, "text_encoder")


def tokenizers_of(directory: Path) -> dict[str, str]:
    """Class by name of its tokenizers, without those that it leaves out."""
    return _components(directory, "tokenizer")


def has_vocabulary(folder: Path) -> bool:
    """Whether a tokenizer is whole: without its vocabulary the library takes one of its own."""
    known = any(all((folder / name).is_file() for name in names) for names in _VOCABULARIES)
    return known or any(folder.glob("*.model"))


def _components(directory: Path, start: str) -> dict[str, str]:
    index = read_index(directory)
    return {
        name: index[name][1]
        for name in sorted(index)
        if name.startswith(start) and index[name][0] is not None
    }
