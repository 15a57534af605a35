"""What an S3 server's refusal means for a user: a pure translation.

Rules this module keeps:

* Every message names the object or bucket and the endpoint, and tells what to do about it.
* What may pass by itself becomes :class:`~sid_trainer.storage.retry.TransientError`; the rest is
  final at once.
"""

from __future__ import annotations

import urllib3

from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.storage.base import not_found
from sid_trainer.storage.retry import TransientError

DENIED_CODES = frozenset(
    [
        "AccessDenied",
        "AccountProblem",
        "AllAccessDisabled",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidToken",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
    ]
)
TRANSIENT_CODES = frozenset(
    [
        "InternalError",
        "OperationAborted",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "SlowDownRead",
        "SlowDownWrite",
        "XMinioServerNotInitialized",
    ]
)
GONE_CODES = frozenset(["NoSuchKey", "ResourceNotFound", "NoSuchObject"])


def translated(
    what: str, uri: str, endpoint: str, code: str | None, message: str | None
) -> Exception:
    """The error to raise for an error code of the protocol."""
    told = f"cannot {what} at {endpoint}: {code} ({message})"
    if code in TRANSIENT_CODES:
        return TransientError(f"{code}: {message}")
    if code == "NoSuchBucket":
        bucket = "/".join(uri.split("/")[:3])
        return not_found(f"bucket {bucket} at {endpoint}", "create it, or correct the name")
    if code in GONE_CODES:
        return not_found(f"{uri} at {endpoint}", "check the bucket and the key")
    if code == "RequestTimeTooSkewed":
        return TrainerError(
            FailureReason.ACCESS_DENIED, f"{told}; the node's clock is wrong: set it by NTP"
        )
    if code in DENIED_CODES:
        return TrainerError(
            FailureReason.ACCESS_DENIED,
            f"{told}; check the credentials and that they may list, read, write and delete there",
        )
    return TrainerError(FailureReason.STORAGE_UNAVAILABLE, told)


def not_s3(what: str, endpoint: str, answer: str) -> TrainerError:
    """The error for a server that speaks something else."""
    return TrainerError(
        FailureReason.STORAGE_UNAVAILABLE,
        f"cannot {what}: {endpoint} does not answer like an S3 server ({answer[:200]}); is it the "
        "address of a console or of a proxy?",
    )


def no_answer(what: str, endpoint: str, error: Exception) -> Exception:
    """A TLS error is final, everything else of the network may pass."""
    reason = getattr(error, "reason", None) or error
    if isinstance(reason, urllib3.exceptions.SSLError):
        return TrainerError(
            FailureReason.STORAGE_UNAVAILABLE,
            f"cannot {what}: no trusted TLS connection to {endpoint} ({reason}); use http:// where "
            "the server has no TLS, or give its CA in the file named by SSL_CERT_FILE",
        )
    return TransientError(_short(reason))


def _short(error: object) -> str:
    """The part of urllib3's messages that a person needs."""
    return str(error).rpartition(">: ")[2] or type(error).__name__
