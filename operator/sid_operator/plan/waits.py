"""When it is worth looking again: seconds until the first thing that time alone changes."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime


def soonest(waits: Iterable[float | None]) -> float | None:
    """The shortest of the waits that there are, in seconds, or None where there is none."""
    return min((wait for wait in waits if wait is not None), default=None)


def first_after(now: datetime, moments: Iterable[datetime]) -> float | None:
    """Seconds until the first of the moments that are still to come, or None where none is."""
    waits = ((moment - now).total_seconds() for moment in moments)
    return min((wait for wait in waits if wait > 0), default=None)
