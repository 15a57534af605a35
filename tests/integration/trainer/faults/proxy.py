"""An HTTP proxy in front of an object store that makes trouble on schedule and counts it.

Rules this module keeps:

* What it does not spoil it passes on byte for byte, so that signatures stay valid.
* Each request has a number in order of arrival; what it meets is the schedule's to say.
* Kills are somebody else's to carry out (``on_kill``), in the middle of the request's body. One
  that finds nothing to kill waits for the next request.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from tests.integration.trainer.faults.schedule import KILLS, Fault, Kind, Schedule

_CHUNK = 2**16
_MAX_HEAD = 2**17
_PAGE = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/html\r\nContent-Length: 31\r\n"
    b"Connection: close\r\n\r\n<html>No server is here.</html>"
)


class _BreakError(Exception):
    """The connection ends here; hard when it is reset."""

    def __init__(self, *, hard: bool) -> None:
        super().__init__()
        self.hard = hard


@dataclass(frozen=True)
class _Head:
    """The first lines of a request or an answer."""

    raw: bytes

    @property
    def start(self) -> list[str]:
        return self.raw.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)

    def header(self, name: str) -> str:
        """A header's value, "" where it is absent."""
        for line in self.raw.split(b"\r\n")[1:]:
            key, _, value = line.partition(b":")
            if key.decode("latin-1").lower() == name:
                return value.decode("latin-1").strip().lower()
        return ""

    @property
    def length(self) -> int:
        return int(self.header("content-length") or 0)


class FaultProxy:
    """Listens on the loopback address; a context manager.

    Args:
        upstream: port of the store.
        schedule: of the faults.
        on_kill: carries out a kill; tells whether there was something to kill. Called in a thread.
    """

    def __init__(
        self, upstream: int, schedule: Schedule, on_kill: Callable[[Fault], bool] = lambda _: False
    ) -> None:
        self._upstream, self._schedule, self._on_kill = upstream, schedule, on_kill
        self._waiting: list[Fault] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="fault proxy", daemon=True)
        self._ready = threading.Event()
        self._end = asyncio.Event()
        self.port = 0
        self.requests = 0
        self.faults: Counter[Kind] = Counter()

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(20)
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._listen())
        finally:
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()

    async def _listen(self) -> None:
        server = await asyncio.start_server(self._client, "127.0.0.1", 0, limit=_MAX_HEAD)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._end.wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await _read_head(reader):
                await self._request(head, reader, writer)
        except _BreakError as end:
            _close(writer, hard=end.hard)
        except (OSError, asyncio.IncompleteReadError):
            _close(writer, hard=True)  # the client or the store went away
        except asyncio.CancelledError:
            _close(writer, hard=True)
            raise
        else:
            _close(writer, hard=False)

    async def _request(
        self, head: _Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.requests += 1
        fault = self._next(self._schedule.at(self.requests))
        kind = fault.kind if fault else None
        if fault and kind in (Kind.ERROR_500, Kind.ERROR_503, Kind.PAGE_503):
            await _copy(reader, None, head.length)
            self.faults[fault.kind] += 1
            writer.write(_error(fault.kind))
            await writer.drain()
            if kind is Kind.PAGE_503:
                raise _BreakError(hard=False)
            return
        if fault and kind is Kind.LATENCY:
            self.faults[fault.kind] += 1
            await asyncio.sleep(fault.seconds)
        store_reader, store = await asyncio.open_connection(
            "127.0.0.1", self._upstream, limit=_MAX_HEAD
        )
        try:
            await self._pass_request(fault, head, reader, store)
            await self._pass_answer(fault, head, store_reader, writer)
        finally:
            _close(store, hard=True)

    def _next(self, fault: Fault | None) -> Fault | None:
        """The fault, or a kill that waits; a kill waits for a request without a fault."""
        if fault is None and self._waiting:
            return self._waiting.pop(0)
        return fault

    async def _pass_request(
        self,
        fault: Fault | None,
        head: _Head,
        reader: asyncio.StreamReader,
        store: asyncio.StreamWriter,
    ) -> None:
        store.write(head.raw)
        first = int(head.length * fault.share) if fault else head.length
        await _copy(reader, store, first)
        if fault and fault.kind is Kind.RESET_REQUEST:
            self.faults[fault.kind] += 1
            raise _BreakError(hard=True)
        if fault and fault.kind in KILLS:
            await self._kill(fault)
        await _copy(reader, store, head.length - first)

    async def _kill(self, fault: Fault) -> None:
        if await self._loop.run_in_executor(None, self._on_kill, fault):
            self.faults[fault.kind] += 1
        else:
            self._waiting.append(fault)

    async def _pass_answer(
        self,
        fault: Fault | None,
        request: _Head,
        store: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        head = await _read_head(store)
        if head is None:
            raise _BreakError(hard=True)
        if fault and fault.kind in (Kind.RESET_ANSWER, Kind.TRUNCATED, Kind.STALL):
            answer = bytearray(head.raw)
            await _copy_answer(request, head, store, answer)
            self.faults[fault.kind] += 1
            # Cut anywhere, but never leave the answer whole.
            writer.write(answer[: int(len(answer) * fault.share)])
            await writer.drain()
            if fault.kind is Kind.STALL:
                await asyncio.sleep(fault.seconds)
            raise _BreakError(hard=fault.kind is not Kind.TRUNCATED)
        writer.write(head.raw)
        await _copy_answer(request, head, store, writer)
        if "close" in (head.header("connection"), request.header("connection")):
            raise _BreakError(hard=False)


async def _read_head(reader: asyncio.StreamReader) -> _Head | None:
    """The next head, None at the end of the stream."""
    try:
        return _Head(await reader.readuntil(b"\r\n\r\n"))
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None


async def _copy(
    reader: asyncio.StreamReader, target: asyncio.StreamWriter | bytearray | None, length: int
) -> None:
    """Move bytes; None drops them."""
    while length > 0:
        chunk = await reader.readexactly(min(length, _CHUNK))
        length -= len(chunk)
        await _put(target, chunk)


async def _put(target: asyncio.StreamWriter | bytearray | None, data: bytes) -> None:
    if isinstance(target, bytearray):
        target += data
    elif target is not None:
        target.write(data)
        await target.drain()


async def _copy_answer(
    request: _Head,
    head: _Head,
    store: asyncio.StreamReader,
    target: asyncio.StreamWriter | bytearray,
) -> None:
    """Move an answer's body, however its end is told."""
    if request.start[0] == "HEAD" or head.start[1] in ("204", "304"):
        return
    if head.header("transfer-encoding") != "chunked":
        await _copy(store, target, head.length)
        return
    while True:
        line = await store.readuntil(b"\r\n")
        await _put(target, line)
        size = int(line.split(b";")[0], 16)
        await _copy(store, target, size + 2)
        if size == 0:
            return


def _error(kind: Kind) -> bytes:
    if kind is Kind.PAGE_503:
        return _PAGE
    status, code = (
        ("500 Internal Server Error", "InternalError")
        if kind is Kind.ERROR_500
        else ("503 Slow Down", "SlowDown")
    )
    body = f"<Error><Code>{code}</Code><Message>made by the proxy</Message></Error>".encode()
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _close(writer: asyncio.StreamWriter, *, hard: bool) -> None:
    """End a connection: with what was written, or by a reset."""
    if hard:
        with contextlib.suppress(OSError):
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()
    else:
        writer.close()
