"""A resumed run goes on as the uninterrupted one did: bit for bit, in new processes."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from sid_ranks import run_on_ranks

from sid_trainer.checkpoint.attempts import claim_attempt
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.process.group import SoloGroup
from sid_trainer.storage import FileStorage
from sid_trainer.training.assembly import Run, require_start

NO_SMALL_WHOLE = {"zero_optimization": {"stage3_param_persistence_threshold": 0}}
# The warm-up ends after the state is saved.
FP32 = {"microBatchSize": 2, "warmupIterations": 5}
BF16 = {"precision": "bf16", "gradientCheckpointing": True, "microBatchSize": 2}
CASES: dict[str, dict[str, Any]] = {
    "fp32": {"training": FP32, "deepspeed": {"config": NO_SMALL_WHOLE}},
    "offload": {"training": FP32, "deepspeed": {"offload": "optimizer", "config": NO_SMALL_WHOLE}},
    "bf16": {"training": BF16},
    "bf16-offload": {"training": BF16, "deepspeed": {"offload": "optimizer"}},
    "pure-bf16": {"training": {"precision": "pure-bf16", "gradientClipping": 50.0}},
    "student-not-begun": {
        "data": {"prompts": {"uri": "unused"}, "images": {"uri": "unused"}},
        "distillation": {"adversarial": {"studentStartsAfterImages": 32, "startsAfterImages": 24}},
        "training": {"sharedRollOut": True},
    },
}
SWITCHED = {
    "offloaded": CASES["offload"] | {"resumesFrom": "fp32"},
    "brought-back": CASES["fp32"] | {"resumesFrom": "offload"},
}
"""What may change on the way."""
STUDENT_STEPS = dict.fromkeys(CASES, 6) | {"student-not-begun": 2}


@pytest.fixture(scope="module")
def folder(tiny_sd3: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """States of both ranks after 6 iterations, in one go and in two."""
    output = tmp_path_factory.mktemp("resume")
    cases = output / "cases.json"
    cases.write_text(json.dumps(CASES | SWITCHED))
    arguments = ("resume_on_ranks.py", str(tiny_sd3), str(cases), str(output))
    run_on_ranks(output, *arguments, "0", "6")
    run_on_ranks(output, *arguments, "3", "6")
    return output


def assert_same(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Every tensor of one state is that of the other, bit for bit."""
    for name, tensor in theirs["tensors"].items():
        torch.testing.assert_close(ours["tensors"][name], tensor, rtol=0, atol=0, msg=name)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("rank", [0, 1])
def test_resume_is_exact(case: str, rank: int, folder: Path) -> None:
    straight = torch.load(folder / f"{case}-rank{rank}-straight.pt")
    resumed = torch.load(folder / f"{case}-rank{rank}-resumed.pt")
    assert resumed["meta"] == straight["meta"]
    assert resumed["meta"]["steps"] == {"student": STUDENT_STEPS[case], "fake": 6}
    losses = straight["losses"][-len(resumed["losses"]) :]
    torch.testing.assert_close(resumed["losses"], losses, rtol=0, atol=0)
    assert resumed["tensors"].keys() == straight["tensors"].keys()
    assert_same(resumed, straight)
    for name, tensor in straight["tensors"].items():
        pure = case == "pure-bf16" and not name.startswith("ema/")
        assert tensor.dtype == (torch.bfloat16 if pure else torch.float32)


@pytest.mark.parametrize(("case", "plain"), [("offload", "fp32"), ("bf16-offload", "bf16")])
@pytest.mark.parametrize("rank", [0, 1])
def test_offload_changes_nothing(case: str, plain: str, rank: int, folder: Path) -> None:
    """Gradients reach the host in fp32, and the same Adam of torch steps fp32 weights there."""
    ours, theirs = (torch.load(folder / f"{name}-rank{rank}-straight.pt") for name in (case, plain))
    # Losses and norms: DeepSpeed adds up the norm in another order when it offloads.
    torch.testing.assert_close(ours["losses"], theirs["losses"], rtol=1e-6, atol=0)
    assert_same(ours, theirs)


@pytest.mark.parametrize("case", SWITCHED)
@pytest.mark.parametrize("rank", [0, 1])
def test_offload_may_change_on_the_way(case: str, rank: int, folder: Path) -> None:
    switched = torch.load(folder / f"{case}-rank{rank}-resumed.pt")
    straight = torch.load(folder / f"fp32-rank{rank}-straight.pt")
    assert switched["meta"] == straight["meta"]
    assert_same(switched, straight)


@pytest.mark.parametrize("case", ["bf16", "pure-bf16"])
def test_training_moved_what_was_saved(case: str, folder: Path) -> None:
    early = torch.load(folder / f"{case}-rank0-3.pt")["tensors"]
    late = torch.load(folder / f"{case}-rank0-straight.pt")["tensors"]
    for part in ("student/weight", "fake/weight", "ema/weight", "student/exp_avg_sq"):
        name = f"{part}/proj_out.weight"
        assert not torch.equal(early[name], late[name])


def test_a_run_that_requires_a_checkpoint_ends_where_there_is_none(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path / "run")
    with pytest.raises(TrainerError, match=r"checkpoint\.resume is required") as ended:
        require_start(storage, "required", lost=None)
    assert ended.value.reason is FailureReason.NOT_FOUND
    require_start(storage, "auto", lost=None)
    lost = TrainerError(FailureReason.NOT_FOUND, "student.initFrom is gone")
    with pytest.raises(TrainerError, match="initFrom is gone"):
        require_start(storage, "auto", lost)


def test_whether_another_start_has_taken_over_is_asked_patiently(tmp_path: Path) -> None:
    """A commit asks, whose parts have been uploaded with more patience than a moment's."""

    class Impatient(FileStorage):
        def get_bytes(self, key: str, max_bytes: int = 0) -> bytes:
            raise TrainerError(FailureReason.STORAGE_UNAVAILABLE, "no answer")

    patient, nothing = FileStorage(tmp_path), SimpleNamespace()
    parts: Any = (nothing, nothing, SoloGroup(), Impatient(tmp_path), patient, nothing)
    run = Run(*parts, claim_attempt(patient))
    run.fence()
    claim_attempt(patient)
    with pytest.raises(TrainerError, match="attempt 2 of this run"):
        run.fence()
