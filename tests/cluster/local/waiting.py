"""Waiting for a condition: it is asked again and again until it holds or time is up."""

from __future__ import annotations

import time
from collections.abc import Callable

from .errors import ClusterError

INTERVAL_SECONDS = 0.2


def until(
    condition: Callable[[], bool],
    *,
    what: str,
    seconds: float,
    explain: Callable[[], str] = str,
) -> None:
    """Return as soon as the condition holds.

    Args:
        condition: Asked every fifth of a second; may raise ClusterError to give up at once.
        what: What is waited for, for the message.
        seconds: How long at most.
        explain: Called when time is up, for the rest of the message.

    Raises:
        ClusterError: Time is up.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise ClusterError(f"{what}: not within {seconds:.0f} s\n{explain()}".rstrip())
        time.sleep(INTERVAL_SECONDS)
