"""The servers that are asked: where they are, which authorities vouch for them, how long is waited.

Rules this module keeps:

* A server's certificate is always verified.
* Nothing is sent again, and no redirect followed: requests carry credentials, for one server only.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import certifi
import urllib3

from sid_trainer.config.endpoint import Endpoint
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.storage.whole_heads import WholeHeads

AWS_ENDPOINT = "https://s3.amazonaws.com"
DEFAULT_REGION = "us-east-1"
CONNECT_SECONDS = 4.0
READ_SECONDS = 30.0
CONNECTIONS = 10
Pool = TypeVar("Pool", bound=WholeHeads)


def url_of(endpoint: Endpoint) -> str:
    """URL of the S3 server, without a slash at its end."""
    return (endpoint.url or AWS_ENDPOINT).rstrip("/")


def is_aws(url: str) -> bool:
    """Whether the server is one of AWS."""
    return (urlsplit(url).hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn"))


def region_of(endpoint: Endpoint, environ: Mapping[str, str]) -> str | None:
    """None where the server is asked for the bucket's region, which only AWS needs."""
    given = endpoint.region or environ.get("AWS_REGION") or None
    return given or (None if is_aws(url_of(endpoint)) else DEFAULT_REGION)


def bundle_of(endpoint: Endpoint, environ: Mapping[str, str]) -> Path | None:
    """File of the authorities that vouch for the S3 server; None for the public ones."""
    given = endpoint.ca_bundle or environ.get("AWS_CA_BUNDLE") or environ.get("SSL_CERT_FILE")
    return Path(given) if given else None


def pool_of(kind: type[Pool], url: str, bundle: Path | None, *, public_too: bool = False) -> Pool:
    """Connections to a server.

    Args:
        kind: of the pool.
        url: of the server.
        bundle: file of the authorities that are trusted; the public ones when None.
        public_too: the public ones are trusted beside those of the bundle.

    Raises:
        TrainerError: ``InvalidConfiguration`` for a bundle that cannot be used.
    """
    return kind(
        timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
        maxsize=CONNECTIONS,
        ssl_context=_trusting(bundle, public_too) if url.startswith("https") else None,
        retries=False,
    )


def _trusting(bundle: Path | None, public_too: bool) -> ssl.SSLContext:
    """A context that takes certificates of these authorities only."""
    file = bundle or Path(certifi.where())
    try:
        context = ssl.create_default_context(cafile=str(file))
        if public_too:
            context.load_verify_locations(certifi.where())
        return context
    except ssl.SSLError as error:
        problem = f"is no file of PEM certificates ({error.reason or error})"
    except OSError as error:
        problem = f"cannot be read ({error.strerror or error})"
    raise TrainerError(
        FailureReason.INVALID_CONFIGURATION,
        f"the CA bundle {file} {problem}: give one PEM file with the certificates of the "
        "authorities that may vouch for the S3 server",
    )
