"""Prompts: balanced, distinct, and the committed example is what the command writes."""

from collections import Counter
from pathlib import Path

from sid_trainer.digits.cli import main
from sid_trainer.digits.prompts import balanced_prompts, prompts_of

EXAMPLES = Path(__file__).parents[4] / "examples"


def test_every_digit_has_as_many_different_prompts() -> None:
    digit_of = {prompt: digit for digit in range(10) for prompt in prompts_of(digit)}
    prompts = balanced_prompts()
    assert len(set(prompts)) == len(prompts) == len(digit_of)
    assert set(Counter(digit_of[prompt] for prompt in prompts).values()) == {len(prompts_of(0))}


def test_the_first_prompt_of_seven() -> None:
    assert prompts_of(7)[0] == "a handwritten seven"


def test_the_committed_prompts_are_what_the_command_writes(tmp_path: Path) -> None:
    assert main(["prompts", "--output", str(tmp_path / "prompts.txt")]) == 0
    written = (tmp_path / "prompts.txt").read_text()
    assert written == (EXAMPLES / "digits-prompts.txt").read_text()
