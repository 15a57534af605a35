"""Connections that take no answer whose head was cut off, and give a slow store time to take bytes.

Python's client takes the end of the stream for the end of the headers: an answer that broke off
there looks like a whole one, with a shortened value, without its length, without its ETag. An
object would seem empty, and a sound checkpoint damaged. Here such an answer is a broken connection.

urllib3 sends the first request of a connection under the time-out for connecting, which is short: a
store that writes a part to a slow disk takes no bytes for longer than that.
"""

from __future__ import annotations

import http.client
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

SEND_SECONDS = 30.0
"""How long the other side may take no bytes of a request."""
_BLANK = (b"\r\n", b"\n")


class CutHeadError(http.client.HTTPException):
    """The connection ended within the headers of an answer."""


class _Lines:
    """A stream of lines that remembers the last one."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.last = b""

    def readline(self, limit: int = -1) -> bytes:
        """The next line."""
        self.last = self._stream.readline(limit)
        return self.last

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _WholeHead(http.client.HTTPResponse):
    """An answer whose headers end with a blank line."""

    fp: Any

    def begin(self) -> None:
        """Read the head.

        Raises:
            CutHeadError: it has no end.
        """
        stream = self.fp
        lines = self.fp = _Lines(stream)
        try:
            super().begin()
        finally:
            if self.fp is lines:
                self.fp = stream
        if lines.last not in _BLANK:
            self.close()
            raise CutHeadError("the answer broke off within its headers")


class _Http(HTTPConnection):
    response_class = _WholeHead

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(SEND_SECONDS)


class _Https(HTTPSConnection):
    response_class = _WholeHead

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(SEND_SECONDS)


class _HttpPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Http


class _HttpsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _Https


class WholeHeads(urllib3.PoolManager):
    """A pool manager of such connections."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
