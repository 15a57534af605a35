"""Two ranks under ZeRO-3 compute what plain PyTorch computes on the joined batch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from gradients_on_ranks import ITERATIONS
from sid_ranks import CAPTIONS, PROMPTS, real_latents, run_on_ranks
from sid_reference import Reference
from torch import Tensor

from sid_trainer.teachers.sd3 import SD3Teacher

NO_SMALL_WHOLE = {"zero_optimization": {"stage3_param_persistence_threshold": 0}}
FEW_WHOLE = {
    "zero_optimization": {
        "stage3_param_persistence_threshold": 0,
        "stage3_max_live_parameters": 24_000,
        "stage3_max_reuse_distance": 0,
    }
}
"""Blocks are let go and gathered again, ahead."""
IMAGES = {"prompts": {"uri": "unused"}, "images": {"uri": "unused"}}
CASES: dict[str, dict[str, Any]] = {
    "guided": {
        "distillation": {"guidance": {"strategy": "LSG", "scale": 1.5}},
        "deepspeed": {"config": FEW_WHOLE},
    },
    "micro-batches": {
        "distillation": {
            "guidance": {"strategy": "ZeroCFG"},
            "weighting": "sid",
            "alpha": 1.2,
        },
        "student": {"noise": "ddim"},
        "training": {"microBatchSize": 2, "gradientCheckpointing": True},
        "deepspeed": {"config": NO_SMALL_WHOLE},
    },
    "small-parameters-whole": {
        "distillation": {"guidance": {"strategy": "AntiCFG", "scale": 0.5}, "weighting": "snr"},
        "student": {"noise": "fixed"},
    },
    "data-aided": {
        "data": IMAGES,
        "distillation": {
            "guidance": {"strategy": "LSG", "scale": 1.5},
            "adversarial": {"studentStartsAfterImages": 8, "startsAfterImages": 16},
        },
        "training": {"sharedRollOut": True, "gradientCheckpointing": True},
        "deepspeed": {"config": FEW_WHOLE},
    },
    "data-aided-micro-batches": {
        "data": IMAGES,
        "distillation": {
            "weighting": "sid",
            "guidance": {"strategy": "ZeroCFG", "fakeScale": 0.7},
            "adversarial": {
                "pooling": "channel",
                "studentStartsAfterImages": 0,
                "startsAfterImages": 0,
            },
        },
        "training": {"sharedRollOut": True, "microBatchSize": 2},
    },
    "compiled": {
        "distillation": {"guidance": {"strategy": "LSG", "scale": 1.5}},
        "training": {"compile": True, "gradientCheckpointing": True},
        "deepspeed": {"config": NO_SMALL_WHOLE},
    },
}


def reference_settings(case: str) -> dict[str, Any]:
    match case:
        case "guided" | "compiled":
            return {"kappas": (1.5, 1.5, 1.5), "weight": lambda s, x, f: 1 - s}
        case "micro-batches":
            return {
                "kappas": (0.0, 0.0, 1.0),
                "weight": lambda s, x, f: 1 / (x - f).abs().mean((1, 2, 3), keepdim=True),
                "alpha": 1.2,
                "noise_mode": "ddim",
            }
        case "data-aided":
            return {
                "kappas": (1.5, 1.5, 1.5),
                "weight": lambda s, x, f: 1 - s,
                "shared_roll_out": True,
                "pool_over": 1,
                "student_from": 1,
                "real_from": 2,
            }
        case "data-aided-micro-batches":
            return {
                "kappas": (0.0, 0.7, 1.0),
                "weight": lambda s, x, f: 1 / (x - f).abs().mean((1, 2, 3), keepdim=True),
                "shared_roll_out": True,
                "pool_over": 2,
            }
        case _:
            return {
                "kappas": (-0.5, -0.5, 1.0),
                "weight": lambda s, x, f: ((1 - s) / s) ** 2,
                "noise_mode": "fixed",
            }


def reference_of(case: str, directory: Path) -> Reference:
    teacher = SD3Teacher(directory, torch.device("cpu"), torch.float32)
    condition = teacher.encode([PROMPTS[i % len(PROMPTS)] for i in range(8)]).tensors
    captions = teacher.encode([CAPTIONS[i % len(CAPTIONS)] for i in range(8)]).tensors
    real = (real_latents(range(8), (4, 8, 8)), captions["prompt_embeds"], captions["pooled"])
    empty = teacher.encode([""]).tensors
    return Reference(
        directory,
        condition["prompt_embeds"],
        condition["pooled"],
        empty["prompt_embeds"],
        empty["pooled"],
        real=real if case.startswith("data-aided") else None,
        **reference_settings(case),
    )


@pytest.fixture(scope="module")
def results(tiny_sd3: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What two ranks computed, by case: one start for all."""
    output = tmp_path_factory.mktemp("gradients")
    cases = output / "cases.json"
    cases.write_text(json.dumps(CASES))
    run_on_ranks(output, "gradients_on_ranks.py", str(tiny_sd3), str(cases), str(output))
    return {name: torch.load(output / f"{name}.pt") for name in CASES}


def norm(tensors: Mapping[str, Tensor]) -> float:
    squares = (float(tensor.detach().double().square().sum()) for tensor in tensors.values())
    return float(sum(squares) ** 0.5)


def relative_error(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> float:
    """Norm of the difference of two sets of tensors over the norm of the second."""
    assert ours.keys() == theirs.keys()
    return norm({n: ours[n].double() - theirs[n].detach().double() for n in ours}) / norm(theirs)


def gradients_of(network: torch.nn.Module) -> dict[str, Tensor]:
    return {
        n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in network.named_parameters()
    }


@pytest.mark.parametrize("case", CASES)
def test_gradients_and_updates_are_those_of_the_equations(
    case: str, results: dict[str, Any], tiny_sd3: Path
) -> None:
    reference, result = reference_of(case, tiny_sd3), results[case]
    start = {n: p.detach().clone() for n, p in reference.student.named_parameters()}
    for iteration in range(ITERATIONS):
        reference.iterate(iteration)
        ours = result["iterations"][iteration]
        assert relative_error(ours["fake_gradient"], gradients_of(reference.fake)) < 1e-5
        if iteration >= reference.student_from:
            student = gradients_of(reference.student)
            assert relative_error(ours["student_gradient"], student) < 1e-5
        else:
            assert ours["student_gradient"] is None
        torch.testing.assert_close(
            ours["losses"], torch.tensor(reference.losses[-1]), rtol=1e-4, atol=1e-6
        )
    final = result["final"]
    moved = {n: p.detach() - start[n] for n, p in reference.student.named_parameters()}
    drift = {n: final["student"][n] - p.detach() for n, p in reference.student.named_parameters()}
    assert norm(drift) < 1e-4 * norm(moved)
    average = dict(reference.average.named_parameters())
    assert relative_error({n: final["average"][n] for n in average}, average) < 1e-5
    fake = {n: p.detach() for n, p in reference.fake.named_parameters()}
    assert relative_error(final["fake"], fake) < 1e-5


def test_the_reported_norm_is_that_of_the_gradient(results: dict[str, Any]) -> None:
    for result in results.values():
        first = next(one for one in result["iterations"] if one["norm"] is not None)
        assert float(first["norm"]) == pytest.approx(norm(first["student_gradient"]), rel=1e-4)


def test_the_state_dict_is_whole(results: dict[str, Any], tiny_sd3: Path) -> None:
    reference = reference_of("guided", tiny_sd3)
    expected = {n: t.shape for n, t in reference.student.state_dict().items()}
    ours = results["guided"]["final"]["student"]
    assert {n: t.shape for n, t in ours.items()} == expected
    torch.testing.assert_close(
        ours["pos_embed.pos_embed"], reference.student.pos_embed.pos_embed, rtol=0, atol=0
    )
