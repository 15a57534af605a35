"""Ranks wait for one that works long, over real gloo, far beyond the time-out of a collective."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent / "waiting_on_ranks.py"


def test_a_rank_that_works_longer_than_a_collective_may_is_waited_for() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    ranks = [
        subprocess.Popen([sys.executable, str(SCRIPT), str(rank), port], stdout=subprocess.PIPE)
        for rank in range(2)
    ]
    try:
        printed = [rank.communicate(timeout=120)[0].decode().strip() for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert printed == ["done", "done"]
