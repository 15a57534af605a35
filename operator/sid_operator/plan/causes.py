"""A cause of trouble, and how the causes of several pods are weighed against each other."""

from __future__ import annotations

from dataclasses import dataclass

from sid_operator.api.status import FailureStatus

MAX_MESSAGE = 1000
"""Characters of a message; an Event takes 1024."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why something does not go on, with the pod that told it."""

    reason: str
    message: str
    pod: str | None = None

    def as_status(self) -> FailureStatus:
        """The cause as it stands in the status."""
        return FailureStatus(reason=self.reason, message=self.message[:MAX_MESSAGE], pod=self.pod)
