"""What can go wrong with an API request, an exception a case that a caller treats apart."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any


class KubeError(Exception):
    """Base of all errors of the client."""


class UnreachableError(KubeError):
    """No answer: refused, reset, cut short or timed out. The request may have been carried out."""


class FencedError(KubeError):
    """The request was not sent: this process leads no longer, and another may act already."""


class ApiError(KubeError):
    """The API server said no.

    Attributes:
        status: HTTP status code.
        reason: Machine-readable reason of the Status object (``AlreadyExists``), or "".
        retry_after: Seconds that the server asks to wait for, or None.
    """

    def __init__(
        self, status: int, message: str, *, reason: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(f"{message} (HTTP {status}{', ' + reason if reason else ''})")
        self.status = status
        self.message = message
        self.reason = reason
        self.retry_after = retry_after


class UnauthorizedError(ApiError):
    """401: the credentials are not accepted (any more)."""


class RejectedError(ApiError):
    """4xx: understood and not wanted; the same request is in vain until somebody changes a rule."""


class ForbiddenError(RejectedError):
    """403: RBAC, admission or a namespace that is going away."""


class NotFoundError(ApiError):
    """404: no such object, or no such kind."""


class ConflictError(ApiError):
    """409: it exists already, or was changed meanwhile."""


class GoneError(ApiError):
    """410: the resource version is too old to watch or to continue a list from."""


class InvalidError(RejectedError):
    """400 or 422: the object breaks the rules of its schema, or a policy's."""


class WebhookError(RejectedError):
    """500: an admission webhook that must be asked does not answer."""


class BusyError(ApiError):
    """429 or 5xx: the server could not; the same request may succeed later."""


_BY_STATUS: dict[int, type[ApiError]] = {
    400: InvalidError,
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    410: GoneError,
    422: InvalidError,
    429: BusyError,
}
_DENIED = re.compile(r"denied (the )?request")
"""What a webhook or policy says no with, under whatever code its author chose."""
_UNANSWERED = "failed calling webhook"


def from_status(
    code: int, body: Mapping[str, Any], *, retry_after: float | None = None
) -> ApiError:
    """The error of a Status object (the body of a refusal, or of a watch's ERROR event)."""
    details = body.get("details") or {}
    if retry_after is None and details.get("retryAfterSeconds"):
        retry_after = float(details["retryAfterSeconds"])
    message = str(body.get("message") or "no message")
    kind, reason = _kind(code, message), str(body.get("reason") or "")
    return kind(code, message, reason=reason, retry_after=retry_after)


def _kind(code: int, message: str) -> type[ApiError]:
    if code == 500 and _UNANSWERED in message:
        return WebhookError
    known = _BY_STATUS.get(code, BusyError if code >= 500 else RejectedError)
    if _DENIED.search(message) and not issubclass(known, RejectedError):
        return RejectedError
    return known
