"""A cause of trouble, and how the causes of several pods are weighed against each other."""

from __future__ import annotations

from dataclasses import dataclass

MAX_MESSAGE = 1000
"""Characters of a message; an Event takes 1024."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why something does not go on, with the pod that told it."""

    reason: str
    message: str
    pod: str | None = None
