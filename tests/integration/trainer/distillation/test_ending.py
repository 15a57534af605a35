"""How a process ends whose work is done, while threads of its process group are at theirs."""

from __future__ import annotations

from pathlib import Path

from sid_ranks import run_on_ranks


def test_a_rank_that_is_done_ends_well(tmp_path: Path) -> None:
    run_on_ranks(tmp_path, "ending_on_ranks.py")
