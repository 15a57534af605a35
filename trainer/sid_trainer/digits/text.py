"""Small tokenizers and frozen random text encoders of the classes that SD3 pipelines expect.

Random encoders are enough: a prompt's encoding only has to be fixed and well apart from those of
prompts for other digits. Library defaults initialise CLIP's token embeddings at a standard
deviation of 0.02, which leaves the position and the words of all prompts nearly alike, so they are
scaled to one here.

``MAX_TOKENS`` is the length limit that all tokenizers declare. SD3's pipeline pads
T5's tokens to 256 unless called with ``max_sequence_length``; its teacher is trained on both.
"""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import pre_tokenizers
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

from sid_trainer.digits.prompts import vocabulary
from sid_trainer.digits.seeding import seeded

MAX_TOKENS = 8
CLIP_WIDTH = 32
JOINT_WIDTH = 2 * CLIP_WIDTH
"""Width of T5 and of both CLIP encodings side by side: the transformer's joint attention dim."""
POOLED_WIDTH = 2 * CLIP_WIDTH
_START, _END = "<|startoftext|>", "<|endoftext|>"


def clip_tokenizer() -> CLIPTokenizer:
    """Return a CLIP tokenizer that knows the words of the prompts, and all bytes besides."""
    vocabulary_of, merges = _byte_pairs(vocabulary())
    return CLIPTokenizer(vocab=vocabulary_of, merges=merges, model_max_length=MAX_TOKENS)


def _byte_pairs(words: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Merge each word's characters from the left until the word is one token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*alphabet, *(letter + "</w>" for letter in alphabet)]
    merges: list[tuple[str, str]] = []
    for word in words:
        parts = [*word[:-1], word[-1] + "</w>"]
        while len(parts) > 1:
            pair = (parts[0], parts[1])
            if pair not in merges:
                merges.append(pair)
                tokens.append("".join(pair))
            parts[:2] = ["".join(pair)]
    return {token: index for index, token in enumerate([*tokens, _START, _END])}, merges


def t5_tokenizer() -> T5TokenizerFast:
    """Return a T5 tokenizer that knows the words of the prompts and single letters."""
    letters = [chr(code) for code in range(ord("!"), ord("~") + 1)]
    words = [f"▁{word}" for word in vocabulary()]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -8.0)]
    pieces += [(letter, -8.0) for letter in letters] + [(word, -1.0) for word in words]
    return T5TokenizerFast(vocab=pieces, extra_ids=0, model_max_length=MAX_TOKENS)


def clip_encoder(
    tokenizer: CLIPTokenizer, seed: int, kind: Any = CLIPTextModelWithProjection
) -> Any:
    """Return a frozen CLIP text encoder of class ``kind``; its weights follow from ``seed``."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=CLIP_WIDTH,
        intermediate_size=2 * CLIP_WIDTH,
        projection_dim=CLIP_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=MAX_TOKENS,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with seeded(seed):
        encoder = kind(config)
        torch.nn.init.normal_(encoder.get_input_embeddings().weight)
    return encoder.eval().requires_grad_(False)


def t5_encoder(tokenizer: T5TokenizerFast, seed: int) -> T5EncoderModel:
    """Return a frozen T5 encoder whose weights follow from ``seed``."""
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=JOINT_WIDTH,
        d_kv=CLIP_WIDTH // 2,
        d_ff=JOINT_WIDTH,
        num_layers=1,
        num_heads=2,
        dropout_rate=0.0,
        feed_forward_proj="gated-gelu",
    )
    with seeded(seed):
        encoder = T5EncoderModel(config)
    return encoder.eval().requires_grad_(False)
