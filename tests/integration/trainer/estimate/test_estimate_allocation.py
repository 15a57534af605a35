"""The estimate against what torch and DeepSpeed really allocate, on two ranks.

Every tensor of a process is counted by its storage. What rests is compared within 2 %. The most
that each update takes besides is nearly an upper bound: not 5 % too little, nor 40 % too much.
What the snapshot of a checkpoint takes of host memory is compared within 2 %, too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sid_ranks import run_config, run_on_ranks

from sid_trainer.estimate import Estimate, estimate_run, find_skeleton

PROCESSES = 2
SCRIPT = str(Path(__file__).parent / "memory_on_ranks.py")
ZERO = {"reduce_bucket_size": 300_000, "stage3_param_persistence_threshold": 500}
SHORT = ZERO | {"stage3_max_live_parameters": 800_000, "stage3_max_reuse_distance": 0}


ADVERSARIAL = {"studentStartsAfterImages": 0, "startsAfterImages": 0}


def case(zero: dict[str, int], precision: str, **training: Any) -> dict[str, Any]:
    """Sections of a run."""
    return {
        "training": {"batchSize": 8, "precision": precision} | training,
        "deepspeed": {"config": {"zero_optimization": zero}},
    }


def offloaded(sections: dict[str, Any]) -> dict[str, Any]:
    return sections | {"deepspeed": sections["deepspeed"] | {"offload": "optimizer"}}


def data_aided(sections: dict[str, Any]) -> dict[str, Any]:
    data = {"prompts": {"uri": "unused"}, "images": {"uri": "unused"}}
    return sections | {"data": data, "distillation": {"adversarial": ADVERSARIAL}}


def flux(sections: dict[str, Any]) -> dict[str, Any]:
    """Of the other teacher, which needs a resolution."""
    return sections | {"data": {"prompts": {"uri": "unused"}, "resolution": 64}}


CASES = {
    "bf16": case(ZERO, "bf16"),
    "checkpointed, short reuse": case(SHORT, "bf16", gradientCheckpointing=True, batchSize=32),
    "fp32, no average": case(ZERO, "fp32", ema={"halfLifeImages": 0}),
    "pure bf16, accumulated": case(ZERO, "pure-bf16", microBatchSize=2),
    "the student's graph waits": case(ZERO, "bf16", sharedRollOut=True, batchSize=32),
    "offloaded": offloaded(case(ZERO, "bf16", sharedRollOut=True)),
    "data-aided": data_aided(case(ZERO, "bf16", sharedRollOut=True)),
    "flux": flux(case(ZERO, "bf16", sharedRollOut=True, gradientCheckpointing=True)),
}


@pytest.fixture(scope="module")
def teachers(small_sd3: Path, small_flux: Path) -> dict[str, Path]:
    """Directory of each case's teacher."""
    return {name: small_flux if name == "flux" else small_sd3 for name in CASES}


@pytest.fixture(scope="module")
def allocated(
    teachers: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("allocated")
    cases, output = folder / "cases.json", folder / "allocated.json"
    cases.write_text(json.dumps({name: (str(teachers[name]), CASES[name]) for name in CASES}))
    run_on_ranks(folder, SCRIPT, str(cases), str(output))
    found: dict[str, Any] = json.loads(output.read_text())
    return found


def estimated(name: str, directory: Path) -> Estimate:
    config = run_config(str(directory), **CASES[name])
    return estimate_run(config, find_skeleton(config.teacher))


def of_process(estimate: Estimate, name: str) -> int:
    """A process's bytes of what its node has in host memory."""
    (part,) = (part for part in estimate.node.parts if part.name.startswith(name))
    return part.size // PROCESSES


def without(estimate: Estimate, assumed: str) -> int:
    return sum(part.size for part in estimate.resident.parts if assumed not in part.name)


@pytest.mark.parametrize("name", CASES)
def test_estimate_is_what_is_allocated(
    name: str, teachers: dict[str, Path], allocated: dict[str, Any]
) -> None:
    """Host memory and the accelerator's are one here."""
    estimate = estimated(name, teachers[name])
    found = allocated[name]
    resident = without(estimate, "assumed") + of_process(estimate, "optimizer in host")
    assert resident == pytest.approx(found["resident"], rel=0.02)
    fake, student, step = (phase.size for phase in estimate.phases[:3])
    assert 0.95 * found["fake"] <= max(fake, step) <= 1.4 * found["fake"]
    assert 0.95 * found["student"] <= max(student, step) <= 1.4 * found["student"]


@pytest.mark.parametrize("name", CASES)
def test_a_snapshot_is_as_large_as_estimated(
    name: str, teachers: dict[str, Path], allocated: dict[str, Any]
) -> None:
    told = of_process(estimated(name, teachers[name]), "snapshot")
    assert told == pytest.approx(allocated[name]["snapshot"], rel=0.02)
