"""One request of the S3 protocol at a time, signed and sent once.

Rules this module keeps:

* Nothing is sent again here: the storage decides what may be, and for how long.
* A redirect is an answer, not followed: requests carry credentials, for one server only.
* A server's certificate is always verified.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import certifi
import urllib3
from minio import Minio
from minio.datatypes import Part

from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.endpoint import Endpoint
from sid_trainer.storage.pieces import Pieces
from sid_trainer.storage.retry import TransientError
from sid_trainer.storage.whole_heads import WholeHeads

AWS_ENDPOINT = "https://s3.amazonaws.com"
DEFAULT_REGION = "us-east-1"
CONNECT_SECONDS = 4.0
READ_SECONDS = 30.0
CONNECTIONS = 10


Body: TypeAlias = bytes | Pieces


class S3Client(Minio):  # type: ignore[misc]  # the SDK is checked as untyped
    """The requests that the SDK has for its own use only; the rest is the SDK's."""

    def _build_headers(
        self,
        host: str,
        headers: dict[str, Any] | None = None,
        body: Body | None = None,
        creds: Any = None,
    ) -> tuple[dict[str, Any], datetime]:
        """Headers that are to be signed; the SDK's own are for bodies of one piece."""
        if not isinstance(body, Pieces):
            built: tuple[dict[str, Any], datetime] = super()._build_headers(
                host, headers, body, creds
            )
            return built
        found, date = super()._build_headers(host, headers, None, creds)
        found["Content-Length"] = str(len(body))
        found["x-amz-content-sha256"] = body.sha256()  # which the server compares
        return found, date

    def put(self, bucket: str, name: str, body: Body, headers: Mapping[str, str]) -> None:
        """Write an object in one request."""
        self._put_object(bucket, name, body, dict(headers))

    def begin_upload(self, bucket: str, name: str, headers: Mapping[str, str]) -> str:
        """Begin an upload in parts; return its id."""
        upload: str = self._create_multipart_upload(bucket, name, dict(headers))
        return upload

    def put_part(self, bucket: str, name: str, upload: str, number: int, body: Body) -> str:
        """Write a part; return its etag."""
        etag: str = self._upload_part(bucket, name, body, None, upload, number)
        return etag

    def end_upload(self, bucket: str, name: str, upload: str, etags: Mapping[int, str]) -> None:
        """Make an object of all parts.

        Raises:
            TransientError: the server began to answer well and then failed, as S3 may.
        """
        parts = [Part(number, etags[number]) for number in sorted(etags)]
        if not self._complete_multipart_upload(bucket, name, upload, parts).etag:
            raise TransientError("the server could not put the parts together")

    def give_up_upload(self, bucket: str, name: str, upload: str) -> None:
        """Remove an upload and its parts."""
        self._abort_multipart_upload(bucket, name, upload)

    @property
    def locates(self) -> bool:
        """Whether the server is asked for a bucket's region, as none is given."""
        return not self._base_url.region

    @property
    def lists_uploads_by_prefix(self) -> bool:
        """Whether :meth:`begun_uploads` surely finds all. MinIO takes whole names, or nothing."""
        return bool(self._base_url.is_aws_host)

    def begun_uploads(self, bucket: str, prefix: str) -> Iterator[tuple[str, str]]:
        """Name and id of uploads that have not ended, of objects whose name begins so."""
        marker: dict[str, Any] = {}
        while True:
            page = self._list_multipart_uploads(bucket, prefix=prefix, **marker)
            for upload in page.uploads:
                yield upload.object_name, upload.upload_id
            if not page.is_truncated:
                return
            marker = {
                "key_marker": page.next_key_marker,
                "upload_id_marker": page.next_upload_id_marker,
            }


def connect(endpoint: Endpoint, environ: Mapping[str, str]) -> S3Client:
    """A client of the server; nothing is sent yet.

    Raises:
        TrainerError: ``AccessDenied`` without credentials, ``InvalidConfiguration`` for a CA bundle
            that cannot be used.
    """
    url = endpoint.url or AWS_ENDPOINT
    access, secret = _credentials(url, environ)
    parts = urlsplit(url)
    client = S3Client(
        parts.netloc,
        access_key=access,
        secret_key=secret,
        session_token=environ.get("AWS_SESSION_TOKEN") or None,
        secure=parts.scheme == "https",
        region=_region(endpoint, environ),
        http_client=_pool(endpoint, environ),
    )
    if endpoint.addressing == "path":
        client.disable_virtual_style_endpoint()
    elif endpoint.addressing == "virtual":
        client.enable_virtual_style_endpoint()
    return client


def _credentials(url: str, environ: Mapping[str, str]) -> tuple[str, str]:
    access, secret = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
    if access and secret:
        return access, secret
    missing = "AWS_SECRET_ACCESS_KEY" if access else "AWS_ACCESS_KEY_ID"
    raise TrainerError(
        FailureReason.ACCESS_DENIED,
        f"no credentials for {url}: the environment variable {missing} is not set; give the pod a "
        "Secret with the keys accessKey and secretKey, or set it in your shell",
    )


def _region(endpoint: Endpoint, environ: Mapping[str, str]) -> str | None:
    """None where the server is asked for the bucket's region, which only AWS needs."""
    given = endpoint.region or environ.get("AWS_REGION") or None
    return given or (None if _is_aws(endpoint.url or AWS_ENDPOINT) else DEFAULT_REGION)


def _is_aws(url: str) -> bool:
    return (urlsplit(url).hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn"))


def _pool(endpoint: Endpoint, environ: Mapping[str, str]) -> urllib3.PoolManager:
    bundle = endpoint.ca_bundle or environ.get("AWS_CA_BUNDLE") or environ.get("SSL_CERT_FILE")
    secure = (endpoint.url or AWS_ENDPOINT).startswith("https")
    return WholeHeads(
        timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
        maxsize=CONNECTIONS,
        ssl_context=_trusting(Path(bundle or certifi.where())) if secure else None,
        retries=False,
    )


def _trusting(bundle: Path) -> ssl.SSLContext:
    """A context that takes certificates of these authorities only."""
    try:
        return ssl.create_default_context(cafile=str(bundle))
    except ssl.SSLError as error:
        problem = f"is no file of PEM certificates ({error.reason or error})"
    except OSError as error:
        problem = f"cannot be read ({error.strerror or error})"
    raise TrainerError(
        FailureReason.INVALID_CONFIGURATION,
        f"the CA bundle {bundle} {problem}: give one PEM file with the certificates of the "
        "authorities that may vouch for the S3 server",
    )
