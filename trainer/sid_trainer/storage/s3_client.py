"""One request of the S3 protocol at a time, signed and sent once.

Rules this module keeps:

* Nothing is sent again here: the storage decides what may be, and for how long.
* Which server is asked, and whom it is believed to be, is :mod:`.s3_server`'s; with which keys is
  :mod:`.s3_keys`'.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from minio import Minio
from minio.datatypes import Part

from sid_trainer.config.endpoint import Endpoint
from sid_trainer.storage.pieces import Pieces
from sid_trainer.storage.retry import TransientError
from sid_trainer.storage.s3_keys import keys_of
from sid_trainer.storage.s3_role import RoleKeys
from sid_trainer.storage.s3_server import bundle_of, pool_of, region_of, url_of
from sid_trainer.storage.whole_heads import WholeHeads

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
    def has_role(self) -> bool:
        """Whether the keys are those of a role, asked for by this pod's identity."""
        return isinstance(self._provider, RoleKeys)

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
    url = url_of(endpoint)
    parts = urlsplit(url)
    client = S3Client(
        parts.netloc,
        credentials=keys_of(endpoint, environ),
        secure=parts.scheme == "https",
        region=region_of(endpoint, environ),
        http_client=pool_of(WholeHeads, url, bundle_of(endpoint, environ)),
    )
    if endpoint.addressing == "path":
        client.disable_virtual_style_endpoint()
    elif endpoint.addressing == "virtual":
        client.enable_virtual_style_endpoint()
    return client
