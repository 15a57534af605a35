"""What all tests share: none is judged by the time that it takes, none leaves its log to the next.

The machine may be slow and busy: a property that is examined for longer is no less true.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.loopback import free_port

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def _log() -> Iterator[None]:
    """Where the log goes, and from which level on, is as before: a command sets up its own."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)


@pytest.fixture
def unused_tcp_port() -> int:
    """In place of pytest-asyncio's, whose port another process may get at any moment."""
    return free_port()
