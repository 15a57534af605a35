"""Numbers that are not finite on one rank end all ranks alike, before anything is saved."""

from __future__ import annotations

from pathlib import Path

from sid_ranks import run_on_ranks


def test_a_nan_on_one_rank_ends_all_in_the_same_iteration(tiny_sd3: Path, tmp_path: Path) -> None:
    run_on_ranks(tmp_path, "failure_on_ranks.py", str(tiny_sd3), str(tmp_path))
    told = [(tmp_path / f"told-{rank}.txt").read_text().splitlines() for rank in (0, 1)]
    # Metrics are means over ranks, so both ranks have the same to the last digit.
    assert told[0] == told[1]
    kinds = [line.split()[0] for line in told[0]]
    assert kinds == [
        "iteration",
        "checkpoint",
        "iteration",
        "samples",
        "checkpoint",
        "NumericalError:",
    ]
    assert "is not finite in iteration 3: lower training.learningRate" in told[0][-1]
