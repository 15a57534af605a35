"""What was asked of an S3 server, as messages tell it."""

from __future__ import annotations

from dataclasses import dataclass

from sid_trainer.contract import FailureReason, TrainerError

# Without s3:ListBucket a server says of an object that is not there that it is denied.
_READ_ACTIONS = "s3:GetObject (and s3:ListBucket, by which what is not there is told)"
ACTIONS = {
    "read": _READ_ACTIONS,
    "look for": _READ_ACTIONS,
    "write": "s3:PutObject",
    "list": "s3:ListBucket",
    "delete": "s3:DeleteObject",
    "list unfinished uploads of": "s3:ListBucketMultipartUploads",
    "give up an upload of": "s3:AbortMultipartUpload",
}
"""The permission that an operation takes, by what it is called in messages."""


@dataclass(frozen=True)
class Request:
    """What was asked.

    Attributes:
        verb: one of :data:`ACTIONS`.
        uri: of the object or folder.
        endpoint: URL of the server.
        locates: whether the server is asked for the bucket's region before.
        has_role: whether it is asked with the keys of a role.
    """

    verb: str
    uri: str
    endpoint: str
    locates: bool = False
    has_role: bool = False

    def __str__(self) -> str:
        return f"{self.verb} {self.uri}"


def final(
    request: Request,
    answer: str,
    remedy: str = "",
    reason: FailureReason = FailureReason.STORAGE_UNAVAILABLE,
) -> TrainerError:
    """The error for what waiting does not cure."""
    told = f"cannot {request} at {request.endpoint} ({answer})"
    return TrainerError(reason, f"{told}: {remedy}" if remedy else told)
