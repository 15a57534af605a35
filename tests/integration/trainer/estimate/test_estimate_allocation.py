"""The estimate against what torch and DeepSpeed really allocate, on two ranks.

Every tensor of a process is counted by its storage. What rests is compared within 2 %. The most
that an iteration takes besides is nearly an upper bound: not 5 % too little, nor 40 % too much.
What the snapshot of a checkpoint takes of host memory is compared within 2 %, too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sid_ranks import run_config, run_on_ranks

from sid_trainer.estimate import Estimate, estimate_run, find_skeleton

SCRIPT = str(Path(__file__).parent / "memory_on_ranks.py")
ZERO = {"reduce_bucket_size": 300_000, "stage3_param_persistence_threshold": 500}
SHORT = ZERO | {"stage3_max_live_parameters": 800_000, "stage3_max_reuse_distance": 0}


def case(zero: dict[str, int], precision: str, **training: Any) -> dict[str, Any]:
    """Sections of a run."""
    return {
        "training": {"batchSize": 8, "precision": precision} | training,
        "deepspeed": {"config": {"zero_optimization": zero}},
    }


CASES = {
    "bf16": case(ZERO, "bf16"),
    "checkpointed, short reuse": case(SHORT, "bf16", gradientCheckpointing=True, batchSize=32),
    "fp32, no average": case(ZERO, "fp32", ema={"halfLifeImages": 0}),
    "pure bf16, accumulated": case(ZERO, "pure-bf16", microBatchSize=2),
}


@pytest.fixture(scope="module")
def allocated(small_sd3: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("allocated")
    cases, output = folder / "cases.json", folder / "allocated.json"
    cases.write_text(json.dumps(CASES))
    run_on_ranks(folder, SCRIPT, str(small_sd3), str(cases), str(output))
    found: dict[str, Any] = json.loads(output.read_text())
    return found


def estimated(name: str, directory: Path) -> Estimate:
    config = run_config(str(directory), **CASES[name])
    return estimate_run(config, find_skeleton(config.teacher))


def without(estimate: Estimate, assumed: str) -> int:
    return sum(part.size for part in estimate.resident.parts if assumed not in part.name)


@pytest.mark.parametrize("name", CASES)
def test_estimate_is_what_is_allocated(
    name: str, small_sd3: Path, allocated: dict[str, Any]
) -> None:
    estimate = estimated(name, small_sd3)
    found = allocated[name]
    assert without(estimate, "assumed") == pytest.approx(found["resident"], rel=0.02)
    assert 0.95 * found["peak"] <= max(p.size for p in estimate.phases[:3]) <= 1.4 * found["peak"]


@pytest.mark.parametrize("name", CASES)
def test_a_snapshot_is_as_large_as_estimated(
    name: str, small_sd3: Path, allocated: dict[str, Any]
) -> None:
    (told,) = (p for p in estimated(name, small_sd3).node.parts if p.name.startswith("snapshot"))
    processes = 2
    assert told.size / processes == pytest.approx(allocated[name]["snapshot"], rel=0.02)
