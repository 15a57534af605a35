"""On two ranks blocks are gathered while those before them compute, and no more than allowed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from gathers_on_ranks import WARM_UP
from sid_ranks import run_on_ranks

from tests.integration.trainer.tiny_teacher import write_teacher

LAYERS = 8
LIVE = 24_000
"""Weights of two of the largest block, of eight: most are let go and gathered again."""
ZERO = {
    "stage3_param_persistence_threshold": 50,
    "stage3_max_live_parameters": LIVE,
    "stage3_max_reuse_distance": 0,
}
CASES = {
    name: {"training": training, "deepspeed": {"config": {"zero_optimization": ZERO}}}
    for name, training in (
        ("kept", {}),
        ("shared, recomputed", {"sharedRollOut": True, "gradientCheckpointing": True}),
    )
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What two ranks gathered, by case."""
    folder = tmp_path_factory.mktemp("gathers")
    cases, output = folder / "cases.json", folder / "gathers.json"
    cases.write_text(json.dumps(CASES))
    teacher = write_teacher(folder / "teacher", layers=LAYERS)
    run_on_ranks(folder, "gathers_on_ranks.py", str(teacher), str(cases), str(output))
    found: dict[str, Any] = json.loads(output.read_text())
    return found


@pytest.mark.parametrize("case", CASES)
def test_no_block_waits_for_its_weights_once_the_passes_are_known(
    case: str, results: dict[str, Any]
) -> None:
    for network in results[case]["networks"].values():
        assert network["gathered"] > 0
        assert network["needed"] <= 0.05 * network["gathered"]


@pytest.mark.parametrize("case", CASES)
def test_ranks_compare_the_order_of_modules_at_the_beginning_only(
    case: str, results: dict[str, Any]
) -> None:
    compared = results[case]["compared"]
    assert sum(compared[:WARM_UP]) > 0
    assert compared[WARM_UP:] == [0] * (len(compared) - WARM_UP)


@pytest.mark.parametrize("case", CASES)
def test_no_more_is_whole_than_a_block_beyond_what_was_allowed(
    case: str, results: dict[str, Any]
) -> None:
    found = results[case]
    for network in found["networks"].values():
        assert network["most"] <= LIVE + found["largest"]
