"""What the person at the terminal sees: one line a step, with the time it took.

Standard output is a pipe in CI, where silence looks like a hang: a step that takes long says
every fifteen seconds that it is still at work. Lines go to standard error, so that a command's
standard output stays its result.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

HEARTBEAT_SECONDS = 15.0


def say(line: str) -> None:
    """Print a line for people."""
    print(line, file=sys.stderr, flush=True)


@contextmanager
def step(title: str) -> Iterator[None]:
    """Announce a step, keep saying that it runs, and tell how long it took."""
    started = time.monotonic()
    say(f"  … {title}")
    finished = threading.Event()
    heart = threading.Thread(target=_beat, args=(title, started, finished), daemon=True)
    heart.start()
    try:
        yield
    except BaseException:
        say(f"  ✗ {title} ({_elapsed(started)})")
        raise
    else:
        say(f"  ✓ {title} ({_elapsed(started)})")
    finally:
        finished.set()
        heart.join()


def _beat(title: str, started: float, finished: threading.Event) -> None:
    while not finished.wait(HEARTBEAT_SECONDS):
        say(f"    still at it: {title} ({_elapsed(started)})")


def _elapsed(started: float) -> str:
    return f"{time.monotonic() - started:.1f} s"
