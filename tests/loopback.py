"""The machine's own addresses: which there are, ports that are free, requests that no proxy sees.

Rule: ports are below those that the kernel gives to whoever asks for any, or connects to somebody.
One of these could be taken by another process between when it is found free and when it is used.
"""

from __future__ import annotations

import contextlib
import random
import socket
import urllib.request
from http.client import HTTPResponse
from typing import cast

PORTS = range(20_000, 30_000)
_CHOICE = random.SystemRandom()
"""Whatever a test has seeded, two processes choose differently."""
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """So many different ports that nobody listens on at this moment."""
    found: list[int] = []
    for port in _CHOICE.sample(PORTS, len(PORTS)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError(f"no {count} of the ports {PORTS} are free")


def there(address: str) -> bool:
    """Whether this machine has the address; one of IPv4 may be written as one of IPv6."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as tried:
            if tried.family is socket.AF_INET6:
                tried.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            tried.bind((address, 0))
    except OSError:
        return False
    return True


def get(url: str, seconds: float = 60.0) -> HTTPResponse:
    """The answer of a server of this machine, whatever proxy the environment names."""
    return cast("HTTPResponse", _DIRECT.open(url, timeout=seconds))
