"""A cause of trouble, and which causes change their words without being news."""

from __future__ import annotations

from dataclasses import dataclass

from sid_operator import reasons
from sid_operator.api.status import FailureStatus

MAX_MESSAGE = 1000
"""Characters of a message; an Event takes 1024."""
RESTLESS = frozenset(
    {
        reasons.UNSCHEDULABLE,
        reasons.PODS_NOT_CREATED,
        reasons.REFUSED,
        reasons.VOLUME_NOT_MOUNTED,
        reasons.IMAGE_PULL_FAILED,
        reasons.CONTAINER_NOT_CREATED,
        reasons.SANDBOX_NOT_CREATED,
        reasons.CLAIM_MISSING,
        reasons.TOO_LARGE,
    }
)
"""Reasons told in words of others, such as the scheduler or a quota, or with numbers of nodes: they
change with everything that happens in the cluster, and other words mean nothing new."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why something does not go on, with the pod that told it."""

    reason: str
    message: str
    pod: str | None = None

    @classmethod
    def told(cls, failure: FailureStatus) -> Cause:
        """The cause that stands in a status."""
        return cls(failure.reason, failure.message, failure.pod)
