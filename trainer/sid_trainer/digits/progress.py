"""Progress of a training loop on the terminal: a bar there, a line every few seconds in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

_SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """Counts iterations of one stage and prints how far it is; the latest loss stands beside."""

    def __init__(self, stage: str, iterations: int) -> None:
        self.stage = stage
        self.iterations = iterations
        self.loss = float("nan")

    def __iter__(self) -> Iterator[int]:
        """Yield 0 .. iterations - 1, printing on the way."""
        start = printed = time.monotonic()
        for iteration in range(self.iterations):
            yield iteration
            now, last = time.monotonic(), iteration + 1 == self.iterations
            if last or now - printed >= _SECONDS_BETWEEN_LINES:
                printed = now
                self._print(iteration + 1, now - start)

    def _print(self, done: int, seconds: float) -> None:
        left = seconds / done * (self.iterations - done)
        sys.stderr.write(
            f"{self.stage}: {done}/{self.iterations} ({done / self.iterations:.0%}), "
            f"loss {self.loss:.4f}, {seconds:.0f} s, {left:.0f} s left\n"
        )
        sys.stderr.flush()
