"""Text encoders and tokenizers of a stock pipeline, loaded whole or not at all.

In the place of what is absent transformers would take something of its own, and say nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

from sid_trainer.storage.base import not_found
from sid_trainer.teachers.converted_encoders import shared_pipeline
from sid_trainer.teachers.loading_errors import WHOLE, loading_errors, refuse_gaps
from sid_trainer.teachers.text_parts import encoders_of, has_vocabulary, tokenizers_of


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
            :func:`~sid_trainer.teachers.loading_errors.loading_errors`.
    """
    _require_parts(directory)
    shared = shared_pipeline(directory, dtype)
    with loading_errors("text encoders and tokenizers"):
        encoders = {
            name: _encoder(shared / name, kind, dtype) for name, kind in encoders_of(shared).items()
        }
        return pipeline.from_pretrained(
            shared, vae=None, dtype=dtype, local_files_only=True, **encoders, **components
        )


def _encoder(folder: Path, kind: str, dtype: torch.dtype) -> Any:
    """A text encoder with all its weights: in the place of absent ones the library has noise."""
    loader = getattr(transformers, kind)
    encoder, told = loader.from_pretrained(
        folder, dtype=dtype, local_files_only=True, output_loading_info=True
    )
    refuse_gaps(f"teacher.model's {folder.name}", told["missing_keys"])
    return encoder


def _require_parts(directory: Path) -> None:
    """Raise ``NotFound`` for a part in whose place transformers would take one of its own.

    Without its config an encoder gets the class's own; without its vocabulary a tokenizer has one
    of a few special tokens, and makes them of all prompts.
    """
    for folder in (directory / name for name in encoders_of(directory)):
        if not (folder / "config.json").is_file():
            raise not_found(f"teacher.model's {folder.name}/config.json", WHOLE)
    for folder in (directory / name for name in tokenizers_of(directory)):
        if not has_vocabulary(folder):
            what = f"the vocabulary of teacher.model's {folder.name} (tokenizer.json)"
            raise not_found(what, WHOLE)
