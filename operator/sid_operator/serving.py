"""Serves something small over HTTP, to IPv4 and IPv6 alike.

Rules this module keeps:

* A URL without host means every address of either family. What asks a pod (the kubelet, Prometheus)
  uses the family that its cluster prefers, which the operator cannot know beforehand.
* A family that the machine does not have is left out; it is an error to have neither.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from urllib.parse import urlsplit

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
ANY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 - asked for by a URL without host
HTTP_PORT = 80

_NO_SUCH_FAMILY = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})


@contextlib.asynccontextmanager
async def serving(handler: Handler, url: str, *, path: str = "") -> AsyncIterator[None]:
    """Answer GET requests as long as the block runs; none at all where ``url`` is empty.

    Args:
        handler: Gives the answers.
        url: ``http://address:port/path``; every address where it is left out.
        path: Where the handler answers; that of the URL by default.

    Raises:
        OSError: The address cannot be listened on.
    """
    if not url:
        yield
        return
    place = urlsplit(url)
    app = web.Application()
    app.router.add_get(path or place.path or "/", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        port = place.port or HTTP_PORT
        if place.hostname:
            await web.TCPSite(runner, place.hostname, port).start()
        else:
            for listener in listeners(ANY_ADDRESS, port):
                await web.SockSite(runner, listener).start()
        yield
    finally:
        await runner.cleanup()


def listeners(addresses: Iterable[str], port: int) -> list[socket.socket]:
    """Sockets that listen on those of the addresses whose family this machine has.

    Raises:
        OSError: On one of them it cannot be listened, or on none.
    """
    with contextlib.ExitStack() as opened:
        found: list[socket.socket] = []
        for address in addresses:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            try:
                # One of IPv6 takes no IPv4, so that both can have the port.
                listener = socket.create_server((address, port), family=family)
            except OSError as error:
                if error.errno not in _NO_SUCH_FAMILY:
                    raise
                continue
            found.append(opened.enter_context(listener))
        if not found:
            raise OSError(errno.EADDRNOTAVAIL, f"no address to listen on at port {port}")
        opened.pop_all()
        return found
