"""How far a long command is: a bar on a terminal, elsewhere a line now and then.

Rules this module keeps:

* Results go to the standard output, progress to the standard error: a script reads the former.
* A command that is done in seconds says nothing on the way.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Never, Self, TextIO

from tqdm import tqdm

LINE_SECONDS = 10.0
"""Between two lines where there is no terminal."""


class Meter:
    """Counts something up to a total; a context manager.

    Args:
        what: is done, as in "reading".
        total: of what is counted.
        unit: of it: ``B``, or the name of a thing.
        stream: where it is shown.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        what: str,
        total: int = 0,
        unit: str = "B",
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what, self._unit, self._clock = what, unit, clock
        self._stream = stream or sys.stderr
        self._done, self._total, self._said = 0, total, clock()
        self._on_terminal = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._bar: tqdm[Never] | None = None

    def add(self, count: int, total: int | None = None) -> None:
        """Count more; ``total`` where it is known only now."""
        self._done, self._total = self._done + count, total or self._total
        if self._on_terminal:
            if self._bar is None:
                self._bar = self._new_bar()
            self._bar.total = self._total
            self._bar.update(count)
        elif self._clock() - self._said >= LINE_SECONDS:
            self._said = self._clock()
            print(self._line(), file=self._stream, flush=True)

    def say(self, text: str) -> None:
        """Print a result, above the bar where there is one."""
        if self._bar is not None:
            self._bar.clear()
        print(text, flush=True)
        if self._bar is not None:
            self._bar.refresh()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def _new_bar(self) -> tqdm[Never]:
        return tqdm(
            total=self._total,
            desc=self._what,
            unit=self._unit,
            unit_scale=self._unit == "B",
            file=self._stream,
            dynamic_ncols=True,
        )

    def _line(self) -> str:
        share = f"{100 * self._done / self._total:.0f}% " if self._total else ""
        return f"{self._what}: {share}({self._amount(self._done)} of {self._amount(self._total)})"

    def _amount(self, count: int) -> str:
        return size(count) if self._unit == "B" else f"{count} {self._unit}"


def size(count: int) -> str:
    """Bytes as people write them."""
    if count < 1000:
        return f"{count} B"
    power = min(4, int(math.log(count, 1000)))
    return f"{count / 1000**power:.1f} {('', 'kB', 'MB', 'GB', 'TB')[power]}"
