"""Why an S3 server gave no answer: the network, or TLS; a pure translation.

Rules this module keeps:

* A certificate that is not trusted is final, and told by its cause; the rest of the network may
  pass by itself.
"""

from __future__ import annotations

import ssl
from urllib.parse import urlsplit

import urllib3

from sid_trainer.storage.retry import TransientError
from sid_trainer.storage.s3_request import Request, final

NO_TLS_REASONS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE")


def no_answer(request: Request, error: Exception) -> Exception:
    """A TLS error is final, everything else of the network may pass."""
    errors = urllib3.exceptions
    if isinstance(error, errors.SSLError):
        return _untrusted(request, error)
    host, short = urlsplit(request.endpoint).hostname or "", str(error).rpartition(": ")[2]
    if isinstance(error, errors.NameResolutionError):
        return TransientError(
            f"the name cannot be resolved: {short}",
            f"check the spelling of {host}; where addressing is virtual, the name of the bucket "
            "stands before it and must be resolved as well",
        )
    if isinstance(error, errors.NewConnectionError):
        return TransientError(
            short, "check that the server runs, and the port; nothing listens there"
        )
    if isinstance(error, errors.ConnectTimeoutError):
        return TransientError(
            "no connection was made in time",
            "check address and port, and that network policies and firewalls let this pod reach it",
        )
    if isinstance(error, errors.ReadTimeoutError):
        return TransientError("the server took the request and did not answer in time")
    return TransientError(short or type(error).__name__)


def _untrusted(request: Request, error: Exception) -> Exception:
    """Why there is no TLS connection, told by what can be done about it."""
    cause = error.args[0] if error.args else error
    told = f"no trusted TLS connection: {getattr(cause, 'verify_message', '') or _gist(cause)}"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return final(request, told, _certificate_remedy(cause.verify_code))
    if getattr(cause, "reason", None) in NO_TLS_REASONS:
        return final(request, told, "the server has no TLS at this port: use http://")
    return TransientError(told)


def _certificate_remedy(code: int) -> str:
    """What to do about a certificate that OpenSSL refuses (its X509_V_ERR codes)."""
    if code in (9, 10):
        return "its certificate is not valid now: renew it, or set this machine's clock by NTP"
    if code in (62, 64):
        return "its certificate is for other names: use one of these as the endpoint"
    return (
        "no authority trusted here vouches for it: give the one that does as "
        "checkpoint.caBundleRef (storage.caBundle in a file, AWS_CA_BUNDLE in your shell)"
    )


def _gist(cause: object) -> str:
    return str(getattr(cause, "reason", None) or cause)
