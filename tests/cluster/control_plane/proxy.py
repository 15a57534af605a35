"""A TCP proxy that falls silent: connections stay open, and nothing comes through any more.

So a broken load balancer, a lost NAT entry or a frozen node looks from the client's side: no reset
and no end, whatever TCP thinks.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

_CHUNK = 2**16


class Proxy:
    """Passes bytes between clients and one server on loopback.

    Args:
        port: The server's.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._connections: list[asyncio.Event] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._silent = False

    def fall_silent(self, *, forever: bool) -> None:
        """Pass nothing on any more: of the connections that there are, or of later ones as well."""
        for passes in self._connections:
            passes.clear()
        self._silent = forever

    def speak_again(self) -> None:
        """Pass everything on again, what was held back included."""
        self._silent = False
        for passes in self._connections:
            passes.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what a client and the server say."""
        passes = asyncio.Event()
        if not self._silent:
            passes.set()
        self._connections.append(passes)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._pass_on(reader, writer, passes)
        finally:
            self._tasks.discard(task)

    async def close(self) -> None:
        """End all connections."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passes: asyncio.Event
    ) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._target)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pass(reader, there_writer, passes))
                group.create_task(_pass(there_reader, writer, passes))
        except* OSError:
            pass  # one side is gone, and so is the other in a moment
        finally:
            for each in (writer, there_writer):
                each.close()
                with contextlib.suppress(OSError):
                    await each.wait_closed()


async def _pass(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passes: asyncio.Event
) -> None:
    while chunk := await reader.read(_CHUNK):
        await passes.wait()
        writer.write(chunk)
        await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def proxied(port: int) -> AsyncIterator[tuple[Proxy, int]]:
    """A proxy of a port, with the port that it listens on."""
    proxy = Proxy(port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    try:
        yield proxy, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await proxy.close()
