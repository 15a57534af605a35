"""Ranks wait for one that works long, over real gloo, far beyond the time-out of a collective."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.loopback import free_port

SCRIPT = Path(__file__).parent / "waiting_on_ranks.py"


def test_a_rank_that_works_longer_than_a_collective_may_is_waited_for() -> None:
    port = str(free_port())
    ranks = [
        subprocess.Popen([sys.executable, str(SCRIPT), str(rank), port], stdout=subprocess.PIPE)
        for rank in range(2)
    ]
    try:
        printed = [rank.communicate(timeout=300)[0].decode().strip() for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert printed == ["done", "done"]
