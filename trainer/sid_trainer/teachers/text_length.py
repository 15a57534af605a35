"""How many tokens prompts are encoded to: in training, and in the exported student's call alike."""

from __future__ import annotations

import json
from pathlib import Path


def token_limit(directory: Path, tokenizer: str, plain: int) -> int:
    """Tokens that prompts are encoded to: as in the plain call, or the tokenizer's own limit.

    Args:
        directory: the diffusers pipeline.
        tokenizer: which of its tokenizers.
        plain: tokens in the stock pipeline's plain call.
    """
    file = directory / tokenizer / "tokenizer_config.json"
    if not file.is_file():
        return plain
    declared = json.loads(file.read_text(encoding="utf-8")).get("model_max_length")
    return plain if declared is None else min(plain, int(declared))


def length_argument(directory: Path, tokenizer: str, plain: int) -> dict[str, object]:
    """What the plain call lacks to encode as :func:`token_limit` says, if anything: it pads."""
    tokens = token_limit(directory, tokenizer, plain)
    return {} if tokens == plain else {"max_sequence_length": tokens}
