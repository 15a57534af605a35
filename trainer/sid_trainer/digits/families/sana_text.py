"""A random Gemma-2 and a tokenizer that knows the prompts and SANA's instruction before them."""

from __future__ import annotations

import inspect
import json
from typing import Any

import torch
from diffusers import SanaPipeline
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import Gemma2Config, Gemma2Model, GemmaTokenizer

from sid_trainer.digits.prompts import balanced_prompts
from sid_trainer.digits.seeding import seeded
from sid_trainer.digits.text import MAX_TOKENS

WIDTH = 64
_UNKNOWN = "<unk>"
_SPECIAL_TOKENS = ["<pad>", "<eos>", "<bos>", _UNKNOWN, "<mask>"]
_WORD_START = "▁"


def instruction() -> list[str]:
    """Return the "complex human instruction" of the pipeline's plain call."""
    call = inspect.signature(SanaPipeline.__call__)
    lines: list[str] = call.parameters["complex_human_instruction"].default
    return lines


def tokenizer() -> GemmaTokenizer:
    """Return a tokenizer whose words are those of the instruction and of the prompts."""
    words = Tokenizer(models.BPE(unk_token=_UNKNOWN))
    words.normalizer = normalizers.Replace(" ", _WORD_START)
    words.pre_tokenizer = pre_tokenizers.Split(_WORD_START, "merged_with_next")
    trainer = trainers.BpeTrainer(
        vocab_size=1000,
        special_tokens=_SPECIAL_TOKENS,
        initial_alphabet=[chr(code) for code in range(ord("!"), ord("~") + 1)],
        show_progress=False,
    )
    prompts = [" ".join(["", *balanced_prompts()])] * 20
    words.train_from_iterator([*instruction(), *prompts], trainer)
    trained = json.loads(words.to_str())["model"]
    merges = [tuple(pair) for pair in trained["merges"]]
    made = GemmaTokenizer(vocab=trained["vocab"], merges=merges, model_max_length=MAX_TOKENS)
    made.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", made.bos_token_id)]
    )
    return made


def encoder(tokens: Any, seed: int) -> Gemma2Model:
    """Return a frozen Gemma-2 whose weights follow from ``seed``."""
    config = Gemma2Config(
        vocab_size=len(tokens),
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=WIDTH // 2,
        query_pre_attn_scalar=WIDTH // 2,
    )
    with seeded(seed):
        model = Gemma2Model(config)
        torch.nn.init.normal_(model.get_input_embeddings().weight)
    return model.eval().requires_grad_(False)
