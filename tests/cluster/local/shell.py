"""Running other programs: their output is kept, and shown when they fail, never otherwise."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from .errors import ClusterError

TAIL_LINES = 25


def run(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    text: str | None = None,
) -> str:
    """Run a program to its end and return its standard output.

    Args:
        command: The program and its arguments.
        env: Variables on top of this process's own.
        cwd: The working directory.
        text: What the program reads from standard input; nothing when absent.

    Raises:
        ClusterError: The program is missing or failed; the message ends with what it said last.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            input=text or "",
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise ClusterError(f"{words[0]} is not installed") from error
    if done.returncode != 0:
        said = tail(done.stderr or done.stdout)
        raise ClusterError(f"{' '.join(words)} exited {done.returncode}:\n{said}")
    return done.stdout


def tail(text: str, lines: int = TAIL_LINES) -> str:
    """The last lines of a text, indented to stand under a message."""
    return "\n".join(f"    {line}" for line in text.strip().splitlines()[-lines:])
