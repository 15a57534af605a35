"""Writing an object on the condition that nobody else has.

Rules this module keeps:

* A write whose answer was lost is refused when it is sent again: the object is there. It recognises
  its own by a token in the metadata.
* A store that says that it has no conditional writes is asked what is there just before the write:
  of two that write at the same moment, the last one wins.
"""

from __future__ import annotations

import secrets
from typing import Any

from minio.error import S3Error

from sid_trainer.storage.s3_client import S3Client
from sid_trainer.storage.s3_errors import UNCONDITIONAL_CODES

TOKEN_HEADER = "x-amz-meta-sid-write"  # noqa: S105 - a name


class ConditionalWrite:
    """A write that may be sent again.

    Args:
        client: of the server.
        bucket: name of the bucket.
        name: name of the object.
        etag: of the object that is replaced; None where there must be none.
        content_type: of the object.
    """

    def __init__(
        self, client: S3Client, bucket: str, name: str, etag: str | None, content_type: str
    ) -> None:
        self._client, self._bucket, self._name, self._etag = client, bucket, name, etag
        self._token = secrets.token_hex(16)
        self._headers = {"Content-Type": content_type, TOKEN_HEADER: self._token}

    def send(self, data: bytes) -> bool:
        """Write; whether the object is this write's.

        Raises:
            S3Error: as the server says.
        """
        condition = (
            {"If-None-Match": "*"} if self._etag is None else {"If-Match": f'"{self._etag}"'}
        )
        try:
            self._put(data, self._headers | condition)
        except S3Error as error:
            if error.code in ("PreconditionFailed", "NoSuchKey"):
                found = self._there()
                return found is not None and (found.metadata or {}).get(TOKEN_HEADER) == self._token
            if error.code not in UNCONDITIONAL_CODES:
                raise
            return self._send_unless_other(data)
        return True

    def _send_unless_other(self, data: bytes) -> bool:
        found = self._there()
        if (None if found is None else found.etag) != self._etag:
            return False
        self._put(data, self._headers)
        return True

    def _put(self, data: bytes, headers: dict[str, str]) -> None:
        self._client.put(self._bucket, self._name, data, headers)

    def _there(self) -> Any:
        """What is known of the object; None where there is none."""
        try:
            return self._client.stat_object(self._bucket, self._name)
        except S3Error as error:
            if error.code == "NoSuchKey":
                return None
            raise
