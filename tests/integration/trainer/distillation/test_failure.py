"""An update that is not finite on one rank is left out on all, and too many end the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from failure_on_ranks import LAST, LEFT_OUT
from sid_ranks import run_on_ranks


@pytest.fixture(scope="module")
def folder(tiny_sd3: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two ranks did and told: one start for all cases."""
    output = tmp_path_factory.mktemp("failure")
    run_on_ranks(output, "failure_on_ranks.py", str(tiny_sd3), str(output))
    return output


@pytest.mark.parametrize("case", LEFT_OUT)
@pytest.mark.parametrize("rank", [0, 1])
def test_a_spoiled_update_is_as_one_left_out(rank: int, case: str, folder: Path) -> None:
    runs: dict[str, Any] = torch.load(folder / f"results-{rank}.pt")[case]
    spoiled, without = runs["spoiled"], runs["without"]
    assert spoiled["tensors"].keys() == without["tensors"].keys()
    for name, tensor in spoiled["tensors"].items():
        assert tensor.isfinite().all(), name
        torch.testing.assert_close(tensor, without["tensors"][name], rtol=0, atol=0, msg=name)
    assert spoiled["meta"]["steps"] == without["meta"]["steps"]
    steps, skipped = runs["start"]["steps"], runs["start"]["skipped"]
    left_out = LEFT_OUT[case]
    assert spoiled["meta"]["steps"] == {n: steps[n] + LAST - 1 - (n in left_out) for n in steps}
    assert spoiled["meta"]["skipped"] == {n: skipped[n] + (n in left_out) for n in skipped}


def test_too_many_in_a_row_end_all_ranks_in_the_same_iteration(folder: Path) -> None:
    told = [(folder / f"told-{rank}.txt").read_text().splitlines() for rank in (0, 1)]
    # Metrics are means over ranks, so both ranks have the same to the last digit.
    assert told[0] == told[1]
    lines = [line.split() for line in told[0] if line.startswith("iteration")]
    skipped_and_loss = [(line[1], line[3], line[4] == "loss") for line in lines]
    assert skipped_and_loss == [
        ("1", "0", True),
        ("2", "2", False),
        ("3", "2", True),
        ("4", "4", False),
    ]
    # A checkpoint after a skipped update is as good as any; the last one is made before the end.
    assert told[0][-4:-1] == ["checkpoint 4", "samples 4", "keep 5"]
    assert told[0][-1].startswith(
        "NumericalError: the loss or gradient of the fake network is not finite in iteration 5, "
        "the last of 2 in a row: lower training.learningRate"
    )


def test_the_log_names_iteration_network_and_rank(folder: Path) -> None:
    first, second = ((folder / f"rank{rank}.log").read_text() for rank in (0, 1))
    assert "iteration 2: the update of the student network is skipped" in first
    assert "the student loss of this rank is not finite" not in first
    assert "iteration 2: the student loss of this rank is not finite" in second
