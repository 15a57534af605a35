"""Why the keys of a role are not had: a pure translation.

Rules this module keeps:

* Every message names the role and whom it was asked of, says what is wrong, and what to do. None
  holds the token, or a key.
* Who does not answer, or is overloaded, may do so later; a refusal is final.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.storage.retry import TransientError
from sid_trainer.storage.s3_no_answer import no_answer
from sid_trainer.storage.s3_request import Request, final

STS, AGENT = "the STS", "the agent of the node"
TRUST = (
    "the role must trust this pod's service account: allow sts:AssumeRoleWithWebIdentity to the "
    "cluster's issuer for system:serviceaccount:NAMESPACE:NAME in its trust policy"
)
ISSUER = (
    "the cluster's issuer must be an identity provider there, for the audience of the token "
    "(sts.amazonaws.com on EKS; MinIO's MINIO_IDENTITY_OPENID_CONFIG_URL and CLIENT_ID)"
)
EXPIRED = (
    "the service account's token has expired or is not valid: the kubelet renews it in a pod; "
    "elsewhere write a new one into its file; and set the clocks by NTP"
)
NAME = (
    "it takes the token or the role's name for wrong: correct AWS_ROLE_ARN (on EKS the annotation "
    f"eks.amazonaws.com/role-arn of the service account); and {ISSUER}"
)
REMEDIES = {
    "AccessDenied": TRUST,
    "ExpiredToken": EXPIRED,
    "ExpiredTokenException": EXPIRED,
    "InvalidIdentityToken": ISSUER,
    "IDPRejectedClaim": ISSUER,
    "InvalidParameterValue": NAME,
    "MissingParameter": NAME,
    "RegionDisabledException": "activate the STS of this region in the account, or name another "
    "as AWS_ENDPOINT_URL_STS",
    "ValidationError": NAME,
}
AGENT_REMEDY = (
    "the service account must have a Pod Identity association with a role that trusts "
    "pods.eks.amazonaws.com (sts:AssumeRole and sts:TagSession)"
)
TRANSIENT_CODES = frozenset(
    [
        "IDPCommunicationError",
        "InternalError",
        "InternalFailure",
        "RequestLimitExceeded",
        "STSIAMNotInitialized",
        "STSNotInitialized",
        "ServiceUnavailable",
        "Throttling",
        "ThrottlingException",
    ]
)
CLIENT_ERRORS, TOO_MANY, SERVER_ERRORS = 400, 429, 500
_LONGEST = 300
_CODE = re.compile(r"<Code>([A-Za-z0-9.]{1,100})</Code>")
_MESSAGE = re.compile(r"<Message>([^<]{1,1000})</Message>")


@dataclass(frozen=True)
class Asked:
    """What was asked: for keys of ``role``, of ``who`` (the STS or the agent), at ``url``."""

    role: str
    who: str
    url: str

    @property
    def request(self) -> Request:
        """The same in the words of other requests."""
        return Request("get keys of", self.role, self.url)


class RefusedError(Exception):
    """An answer that brings no keys."""

    def __init__(self, status: int, body: bytes) -> None:
        # What is no error may hold keys all the same, and is not told.
        text = body[:10_000].decode("utf-8", "replace") if status >= CLIENT_ERRORS else ""
        code, message = _CODE.search(text), _MESSAGE.search(text)
        self.status = status
        self.code = code[1] if code else ""
        words = message[1] if message else "" if code else text
        self.words = " ".join(re.sub(r"[^ -~]", " ", words).split())[:_LONGEST]
        super().__init__(f"HTTP {status} {self.code}".rstrip())


def refusal(asked: Asked, error: RefusedError) -> TrainerError | TransientError:
    """What an answer that brings no keys means."""
    answer = ": ".join(filter(None, [error.code or f"HTTP {error.status}", error.words]))
    passing = error.status == TOO_MANY or error.status >= SERVER_ERRORS
    if passing or error.code in TRANSIENT_CODES:
        return _later(asked, answer)
    if asked.who == AGENT:
        return final(asked.request, answer, AGENT_REMEDY, FailureReason.ACCESS_DENIED)
    if not error.code:
        return final(asked.request, answer, _no_sts(asked))
    remedy = REMEDIES.get(error.code, "is that an STS? AWS_ENDPOINT_URL_STS names another")
    return final(asked.request, answer, remedy, FailureReason.ACCESS_DENIED)


def unanswered(asked: Asked, error: Exception) -> TrainerError | TransientError:
    """Nobody answered."""
    found = no_answer(asked.request, error)
    return found if isinstance(found, TrainerError) else _later(asked, str(found))


def unreadable(asked: Asked) -> TrainerError:
    """The answer brings no keys that can be read; it may hold some, so it is not told."""
    return final(asked.request, "an answer without keys", _no_sts(asked))


def _later(asked: Asked, answer: str) -> TransientError:
    return TransientError(
        f"no keys of {asked.role}: {answer}",
        "check that network policies and firewalls let this pod reach it"
        + "; AWS_ENDPOINT_URL_STS names another STS" * (asked.who == STS),
        server=f"{asked.who} {asked.url}",
    )


def _no_sts(asked: Asked) -> str:
    if asked.who == STS:
        return "that is no answer of an STS: name that of the store as AWS_ENDPOINT_URL_STS"
    return "that is no answer of the agent of EKS Pod Identity"
