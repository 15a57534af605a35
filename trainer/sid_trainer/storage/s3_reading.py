"""Reading an object to its end, however often the connection breaks.

Rules this module keeps:

* A read goes on at the byte where it broke off, as long as the object is the same; where another
  has taken its place, it begins again.
* A body that ends before its announced length counts as broken, not as read.
* Large reads go straight into the memory that is given: urllib3's own way copies every byte twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any, NamedTuple

from minio.error import S3Error
from urllib3.exceptions import ProtocolError

from sid_trainer.storage.retry import TransientError

CHUNK = 2**20
STEP = 4 * 2**20
"""Bytes after which a read that breaks off goes on."""
PARTIAL = 206


class Span(NamedTuple):
    """Bytes of an object: from ``start`` on, at most ``length`` of them, or all for 0."""

    start: int = 0
    length: int = 0


WHOLE = Span()

Sink = Callable[[int, bytes], None] | memoryview
"""Takes bytes and their offset in what is read; what it had from there on is void. Or memory, with
room for all."""


@dataclass
class _Place:
    """How far a read is: the bytes that were taken, of how many, and of which object."""

    taken: int = 0
    furthest: int = 0
    size: int | None = None
    etag: str = ""


def read_on(
    request: Callable[[Span, str], AbstractContextManager[Any]],
    take: Sink,
    ask: Callable[[Callable[[], None], Callable[[], int]], None],
    span: Span = WHOLE,
) -> int:
    """Read an object, or a span of it; return how many bytes there were.

    Args:
        request: the response for a span, on condition that the object has this etag.
        take: where the bytes go.
        ask: runs a try as often as patience allows, which what was read renews.
        span: what is wanted.
    """
    place = _Place()

    def read() -> None:
        if place.taken == place.size:
            return
        try:
            left = _left(span, place.taken)
            with request(left, place.etag) as response:
                _begin(place, response, left)
                for count in _moved(response, place, take):
                    place.taken += count
                    place.furthest = max(place.furthest, place.taken)
        except S3Error as error:
            if error.code == "InvalidRange":  # the object ends before it
                return
            if error.code != "PreconditionFailed":
                raise
            place.taken, place.size, place.etag = 0, None, ""
            raise TransientError("the object was replaced while it was read") from error

    ask(read, lambda: place.furthest)
    return place.taken


def _moved(response: Any, place: _Place, take: Sink) -> Iterator[int]:
    """Move the body to where it goes; how many bytes each time."""
    if isinstance(take, memoryview) and place.size is not None:
        yield from _filled(response, take[place.taken : place.size])
        return
    for chunk in response.stream(CHUNK, decode_content=False):
        if isinstance(take, memoryview):
            take[place.taken : place.taken + len(chunk)] = chunk
        else:
            take(place.taken, chunk)
        yield len(chunk)


def _filled(response: Any, memory: memoryview) -> Iterator[int]:
    """Fill memory with as much of the body, which is the rest of it."""
    while memory:
        try:
            count = response._fp.readinto(memory[:STEP])
        except (OSError, HTTPException) as error:
            raise ProtocolError(f"Connection broken: {error!r}", error) from error
        if not count:
            raise TransientError("the answer ended before its announced length")
        yield count
        memory = memory[count:]
    if response._fp.isclosed():  # nothing is left: the connection may be used again
        response.release_conn()


def _left(span: Span, taken: int) -> Span:
    return Span(span.start + taken, span.length - taken if span.length else 0)


def _begin(place: _Place, response: Any, asked: Span) -> None:
    """Note what is coming."""
    if asked != WHOLE and response.status != PARTIAL:
        raise TransientError("the server sent all of an object of which a part was asked for")
    place.etag = response.headers.get("etag", "")
    length = response.headers.get("content-length")
    place.size = None if length is None else place.taken + int(length)
