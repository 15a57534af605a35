"""Which S3 server holds what ``s3://`` addresses name, and how it is asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Addressing = Literal["auto", "path", "virtual"]


@dataclass(frozen=True)
class Endpoint:
    """An S3 server.

    Attributes:
        url: of the server; AWS when None.
        region: that the bucket is in. When None: ``AWS_REGION``; else AWS is asked, and other
            servers take ``us-east-1``.
        addressing: where the bucket's name stands: ``path`` (``https://server/bucket``),
            ``virtual`` (``https://bucket.server``), or ``auto``: virtual for AWS, path elsewhere.
        ca_bundle: PEM file of the authorities that may vouch for the server; none but these are
            trusted. When None: ``AWS_CA_BUNDLE`` or ``SSL_CERT_FILE``, else the public ones.
    """

    url: str | None = None
    region: str | None = None
    addressing: Addressing = "auto"
    ca_bundle: Path | None = None


Server = Endpoint | str | None
"""An S3 server, or the URL of one that needs no more; AWS when None."""


def endpoint_of(server: Server) -> Endpoint:
    """The server, whichever way it is given."""
    return server if isinstance(server, Endpoint) else Endpoint(server)
