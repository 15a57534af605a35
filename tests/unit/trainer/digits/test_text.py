"""The small tokenizers and encoders: whole words, stable saves, encodings of digits well apart."""

from pathlib import Path

import pytest
import torch
from transformers import CLIPTokenizer, T5TokenizerFast

from sid_trainer.digits import text
from sid_trainer.digits.prompts import balanced_prompts, prompts_of


def padded(tokenizer: CLIPTokenizer | T5TokenizerFast, prompts: list[str]) -> torch.Tensor:
    tokens: torch.Tensor = tokenizer(
        prompts, padding="max_length", max_length=text.MAX_TOKENS, return_tensors="pt"
    ).input_ids
    return tokens


@pytest.mark.parametrize("prompt", balanced_prompts()[::7])
def test_each_word_is_one_token(prompt: str) -> None:
    words = len(prompt.split())
    assert len(text.clip_tokenizer()(prompt).input_ids) == words + 2  # start and end
    assert len(text.t5_tokenizer()(prompt).input_ids) == words + 1  # end


def test_no_prompt_is_cut() -> None:
    for tokenizer in (text.clip_tokenizer(), text.t5_tokenizer()):
        longest = max(len(tokenizer(prompt).input_ids) for prompt in balanced_prompts())
        assert longest <= tokenizer.model_max_length


def test_unknown_words_are_spelt() -> None:
    tokenizer = text.clip_tokenizer()
    assert tokenizer.decode(tokenizer("cat").input_ids, skip_special_tokens=True) == "cat"
    tokens = text.t5_tokenizer()("cat").input_ids
    assert text.t5_tokenizer().decode(tokens, skip_special_tokens=True) == "cat"


@pytest.mark.parametrize("make", [text.clip_tokenizer, text.t5_tokenizer])
def test_a_saved_tokenizer_reads_back(make: object, tmp_path: Path) -> None:
    tokenizer = make()  # type: ignore[operator]
    tokenizer.save_pretrained(tmp_path)
    again = type(tokenizer).from_pretrained(tmp_path, local_files_only=True)
    assert again.model_max_length == text.MAX_TOKENS
    assert torch.equal(padded(again, balanced_prompts()), padded(tokenizer, balanced_prompts()))


def test_encoders_follow_from_their_seed_alone() -> None:
    tokenizer = text.clip_tokenizer()
    torch.manual_seed(1)
    first = text.clip_encoder(tokenizer, seed=5).state_dict()
    torch.manual_seed(2)
    second = text.clip_encoder(tokenizer, seed=5).state_dict()
    other = text.clip_encoder(tokenizer, seed=6).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_pooled_encodings_of_different_digits_are_apart() -> None:
    tokenizer = text.clip_tokenizer()
    encoder = text.clip_encoder(tokenizer, seed=1)
    pooled = encoder(padded(tokenizer, [prompts_of(digit)[0] for digit in range(10)]))[0]
    apart = torch.pdist(pooled) / pooled.norm(dim=1).mean()
    assert apart.min() > 0.1


def test_word_and_figure_have_encodings_of_their_own() -> None:
    tokenizer = text.clip_tokenizer()
    encoder = text.clip_encoder(tokenizer, seed=1)
    pooled = encoder(padded(tokenizer, prompts_of(7)))[0]
    assert torch.pdist(pooled).min() > 0.1
