"""What an S3 server's refusal means for a user: a pure translation.

Rules this module keeps:

* Every message names the object or bucket and the endpoint, says what is wrong, and what to do.
* Causes with different remedies are told apart, as far as the server tells them apart.
* What may pass by itself becomes :class:`~sid_trainer.storage.retry.TransientError`; the rest is
  final at once.
"""

from __future__ import annotations

import re

import urllib3
from minio.error import InvalidResponseError, S3Error, ServerError

from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.storage.base import not_found
from sid_trainer.storage.retry import TransientError
from sid_trainer.storage.s3_no_answer import no_answer
from sid_trainer.storage.s3_request import ACTIONS, Request, final

SECRET = "the Secret checkpoint.secretRef, or in your shell's environment"  # noqa: S105
CREDENTIAL_REMEDIES = {
    "InvalidAccessKeyId": "the server does not know this access key: correct accessKey "
    f"(AWS_ACCESS_KEY_ID) in {SECRET}; temporary keys need their sessionToken as well, and MinIO "
    "no longer knows them when they have expired",
    "SignatureDoesNotMatch": "the secret key does not belong to the access key: correct secretKey "
    f"(AWS_SECRET_ACCESS_KEY) in {SECRET}",
    "ExpiredToken": f"the temporary keys have expired: put new ones into {SECRET} and start the "
    "run again, which goes on from its last checkpoint",
    "InvalidToken": "the session token does not belong to the keys: correct sessionToken "
    f"(AWS_SESSION_TOKEN) in {SECRET}, or remove it where the keys are permanent",
    "AccountProblem": "the account is blocked: ask whoever runs the store",
}
CREDENTIAL_REMEDIES |= {
    "TokenRefreshRequired": CREDENTIAL_REMEDIES["ExpiredToken"],
    "InvalidTokenId": CREDENTIAL_REMEDIES["InvalidToken"],
    "InvalidClientTokenId": CREDENTIAL_REMEDIES["InvalidAccessKeyId"],
    "InvalidSecurity": CREDENTIAL_REMEDIES["InvalidToken"],
}
_NOT_OF_THIS_STORE = (
    "the server does not know the keys of the role: they must come from its own STS, which "
    "AWS_ENDPOINT_URL_STS names"
)
ROLE_REMEDIES = CREDENTIAL_REMEDIES | {
    "InvalidAccessKeyId": _NOT_OF_THIS_STORE,
    "InvalidClientTokenId": _NOT_OF_THIS_STORE,
    "InvalidToken": _NOT_OF_THIS_STORE,
    "InvalidTokenId": _NOT_OF_THIS_STORE,
    "InvalidSecurity": _NOT_OF_THIS_STORE,
    "SignatureDoesNotMatch": _NOT_OF_THIS_STORE,
    **dict.fromkeys(
        ("ExpiredToken", "TokenRefreshRequired"),
        "the keys of the role have expired before they were renewed: set the clocks of this "
        "machine and of the server by NTP",
    ),
}
"""Where the keys are those of a role, which nobody can put anywhere."""
DENIED_CODES = frozenset(["AccessDenied", "AllAccessDisabled", "Forbidden", "UnauthorizedAccess"])
SKEWED_CODES = frozenset(["RequestTimeTooSkewed", "RequestExpired"])
REGION_CODES = frozenset(
    [
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
        "InvalidRegion",
        "PermanentRedirect",
        "Redirect",
        "TemporaryRedirect",
    ]
)
THROTTLING_CODES = frozenset(
    ["SlowDown", "SlowDownRead", "SlowDownWrite", "ThrottlingException", "TooManyRequests"]
)
TRANSIENT_CODES = frozenset(
    [
        "BadDigest",  # bytes were damaged on the way
        "ConditionalRequestConflict",
        "IncompleteBody",
        "InternalError",
        "OperationAborted",
        "RequestTimeout",
        "ServiceUnavailable",
        "XAmzContentSHA256Mismatch",
        "XMinioServerNotInitialized",
    ]
)
UNCONDITIONAL_CODES = frozenset(["NotImplemented", "UnsupportedOperation", "XNotImplemented"])
"""What stores answer that cannot write on a condition."""
FULL_CODES = frozenset(["QuotaExceeded", "XMinioAdminBucketQuotaExceeded", "XMinioStorageFull"])
GONE_CODES = frozenset(["NoSuchKey", "ResourceNotFound", "NoSuchObject"])
FINAL_CODES = FULL_CODES | UNCONDITIONAL_CODES
TOO_MANY, SERVER_ERRORS = 429, 500
SKEWED_REMEDY = (
    "the clocks of this machine and of the server differ by more than S3 allows (15 minutes): set "
    "both by NTP"
)
_EXPECTED_REGION = re.compile(r"expecting '([A-Za-z0-9-]+)'|use region ([A-Za-z0-9-]+)")
_REGION_ELEMENT = re.compile(rb"<Region>([A-Za-z0-9-]+)</Region>")


def translated(request: Request, error: Exception) -> Exception:
    """The error to raise for whatever the client raised."""
    if isinstance(error, S3Error):
        status = getattr(error.response, "status", 0)
        region = region_of(error)
        return refusal(request, code_of(error), error.message or "", status, region)
    if isinstance(error, InvalidResponseError):
        return _not_s3(request, error)
    if isinstance(error, ServerError):
        return TransientError(f"HTTP {error.status_code}")
    if isinstance(error, urllib3.exceptions.HTTPError | ConnectionError):
        return no_answer(request, error)
    return TrainerError(FailureReason.STORAGE_UNAVAILABLE, f"cannot {request}: {error}")


def refusal(
    request: Request, code: str, message: str, status: int = 0, region: str = ""
) -> Exception:
    """The error to raise for an error code of the protocol."""
    answer = f"{code}: {message}" if message else code
    if code in THROTTLING_CODES or status == TOO_MANY:
        return TransientError(answer, "the store is overloaded: use a faster one, or write less")
    if code in TRANSIENT_CODES or (status >= SERVER_ERRORS and code not in FINAL_CODES):
        return TransientError(answer)
    if code == "NoSuchBucket" or code in GONE_CODES:
        return _absent(request, whole_bucket=code == "NoSuchBucket")
    if code in REGION_CODES:
        return _other_region(request, answer, region)
    reason, remedy = _denial(request, code)
    return final(request, answer, remedy, reason)


def code_of(error: S3Error) -> str:
    """The error's code. The answer to HEAD has no body, so the client guesses; MinIO tells."""
    told: str = getattr(error.response, "headers", {}).get("x-minio-error-code", "")
    return told or error.code or ""


def region_of(error: S3Error) -> str:
    """The region that an answer says the bucket is in; "" where it does not."""
    response = error.response
    told = getattr(response, "headers", {}).get("x-amz-bucket-region", "")
    element = _REGION_ELEMENT.search(getattr(response, "data", None) or b"")
    expected = _EXPECTED_REGION.search(error.message or "")
    return (
        told
        or (element[1].decode() if element else "")
        or (next(filter(None, expected.groups())) if expected else "")
    )


def _absent(request: Request, *, whole_bucket: bool) -> TrainerError:
    if whole_bucket:
        bucket = "/".join(request.uri.split("/")[:3])
        return not_found(f"bucket {bucket} at {request.endpoint}", "create it, or correct the name")
    return not_found(f"{request.uri} at {request.endpoint}", "check the bucket and the key")


def _denial(request: Request, code: str) -> tuple[FailureReason, str]:
    """Why a request is refused for good, and the remedy, "" where none is known."""
    denied = FailureReason.ACCESS_DENIED
    remedies = ROLE_REMEDIES if request.has_role else CREDENTIAL_REMEDIES
    if code in remedies:
        return denied, remedies[code]
    if code in DENIED_CODES:
        region = "; allow s3:GetBucketLocation as well, or set the region" * request.locates
        who = "role" if request.has_role else "keys"
        return denied, f"the {who} may not do that: allow {ACTIONS[request.verb]} there{region}"
    if code in SKEWED_CODES:
        return denied, SKEWED_REMEDY
    full = "the store is full: make room there, or raise its quota" if code in FULL_CODES else ""
    return FailureReason.STORAGE_UNAVAILABLE, full


def _other_region(request: Request, answer: str, region: str) -> TrainerError:
    where = f"in the region {region}" if region else "in another region, or at another address"
    remedy = (
        f"set checkpoint.region to {region} (storage.region in a file, AWS_REGION in your shell)"
        if region
        else "give its region and its own endpoint"
    )
    return final(
        request, answer, f"the bucket is {where}: {remedy}", FailureReason.INVALID_CONFIGURATION
    )


def _not_s3(request: Request, error: InvalidResponseError) -> Exception:
    """An answer that is no XML: of a gateway before the store, or of another program."""
    status, _, body = error.__reduce__()[1]
    answer = " ".join((body or "").split())[:200] or "nothing"
    if status >= SERVER_ERRORS or status == TOO_MANY:
        return TransientError(f"HTTP {status}: {answer}")
    if "HTTPS server" in answer:
        return final(request, answer, "the server speaks TLS at this port: use https://")
    return final(
        request,
        f"HTTP {status}: {answer}",
        "that is no answer of an S3 server: is it the address of a console or of a proxy?",
    )
