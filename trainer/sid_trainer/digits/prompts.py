"""The prompts that the digits teacher understands, and which digit each of them names."""

from __future__ import annotations

from collections.abc import Iterator

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEMPLATES = ("a handwritten {}", "the digit {}", "the number {}", "a photo of the digit {}")


def prompts_of(digit: int) -> list[str]:
    """Return every prompt for ``digit`` (0-9), with the word ("seven") and the figure ("7")."""
    return [template.format(name) for template in TEMPLATES for name in (WORDS[digit], str(digit))]


def balanced_prompts() -> list[str]:
    """Return all prompts, digits alternating, each digit equally often."""
    columns = [prompts_of(digit) for digit in range(10)]
    return [prompt for row in zip(*columns, strict=True) for prompt in row]


def vocabulary() -> list[str]:
    """Return the words of all prompts, sorted."""
    return sorted(set(_words()))


def _words() -> Iterator[str]:
    for prompt in balanced_prompts():
        yield from prompt.split()
