"""How far a run is: throughput, time left, and the endpoint that tells it.

Rules this module keeps:

* Throughput is measured over a window, so that a pause for a checkpoint does not colour hours.
* The endpoint serves a snapshot and never waits for training; training never waits for it.
* It serves GET on two fixed paths only, to whoever reaches the pod: no secrets are in a report.
* Who asks to be heard at every address is heard by IPv4 and IPv6 alike: a pod has an address of the
  family that its cluster prefers, and some have no other.
"""

from __future__ import annotations

import errno
import logging
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

from sid_trainer.contract import PROGRESS_PATH, FailureReason, ProgressReport, TrainerError

HEALTH_PATH = "/healthz"
WINDOW_SECONDS = 60.0
"""Throughput is that of the last minute, or of the last two reports where they are rarer."""
_REQUEST_SECONDS = 5.0
ANY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 - asked for by who configures one of them
ANY_IPV4, ANY_IPV6 = ANY_ADDRESS
"""What is listened on for one of :data:`ANY_ADDRESS`, by what the machine has."""
_NO_SUCH_FAMILY = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})

logger = logging.getLogger(__name__)


class Throughput:
    """Images a second over a sliding window.

    Args:
        window: length of the window in seconds.
        clock: seconds, monotonic.
    """

    def __init__(
        self, window: float = WINDOW_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._window, self._clock = window, clock
        self._points: deque[tuple[float, int]] = deque()

    def update(self, images: int) -> float:
        """Note how many images are done; return images a second, 0.0 while unknown."""
        now = self._clock()
        self._points.append((now, images))
        while len(self._points) > 2 and self._points[1][0] < now - self._window:
            self._points.popleft()
        (then, before), elapsed = self._points[0], now - self._points[0][0]
        return (images - before) / elapsed if elapsed > 0 and then < now else 0.0


def seconds_left(images_left: int, images_per_second: float) -> int | None:
    """Time to the end in seconds, None while the throughput is unknown."""
    if images_left <= 0:
        return 0
    return round(images_left / images_per_second) if images_per_second > 0 else None


class ProgressServer:
    """Serves the newest report as JSON at ``/progress``, and ``/healthz``.

    Args:
        host: address to listen on; one of :data:`ANY_ADDRESS` for all of either family.
        port: port; 0 takes a free one.

    Raises:
        TrainerError: ``InvalidConfiguration`` when the port cannot be had.
    """

    def __init__(self, host: str, port: int) -> None:
        self._body = b""
        try:
            self._server = _serving(_listener(host, port), self._handler())
        except OSError as error:
            raise TrainerError(
                FailureReason.INVALID_CONFIGURATION,
                f"cannot serve progress on {host}:{port}: {error.strerror}; choose another "
                "launch.progressHost or launch.progressPort, or port 0 for none",
            ) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.server_address[1])

    def publish(self, report: ProgressReport) -> None:
        """Serve this report from now on."""
        self._body = report.model_dump_json(by_alias=True, exclude_none=True).encode()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> ProgressServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            """Answers two paths."""

            timeout = _REQUEST_SECONDS
            server_version = "sid-trainer"
            sys_version = ""

            def do_GET(self) -> None:
                if self.path == HEALTH_PATH:
                    self._answer(HTTPStatus.OK, b"ok\n", "text/plain")
                elif self.path == PROGRESS_PATH and server._body:
                    self._answer(HTTPStatus.OK, server._body, "application/json")
                else:
                    self._answer(HTTPStatus.NOT_FOUND, b"not found\n", "text/plain")

            def _answer(self, status: HTTPStatus, body: bytes, kind: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                logger.debug(format, *args)

        return Handler


def _serving(listener: socket.socket, handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    """A server on a socket that listens."""
    server = ThreadingHTTPServer(listener.getsockname()[:2], handler, bind_and_activate=False)
    server.socket.close()
    server.socket, server.server_address = listener, listener.getsockname()
    server.daemon_threads = True
    return server


def _listener(host: str, port: int) -> socket.socket:
    """A socket that listens on an address, or on all that the machine has.

    Raises:
        OSError: it cannot be listened there.
    """
    if host not in ANY_ADDRESS:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    if socket.has_dualstack_ipv6():
        try:
            return socket.create_server(
                (ANY_IPV6, port), family=socket.AF_INET6, dualstack_ipv6=True
            )
        except OSError as error:
            if error.errno not in _NO_SUCH_FAMILY:
                raise
    return socket.create_server((ANY_IPV4, port))
