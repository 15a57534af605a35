"""Every family on two ranks under ZeRO-3 against plain PyTorch on the joined batch.

Each gradient is compared at the same weights: those that the ranks had. Adam makes whole steps of
gradients that are mere rounding, so two right runs drift apart.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FluxTransformer2DModel, SanaTransformer2DModel
from family_reference import FluxReference, SanaReference, SprintReference
from gradients_on_ranks import ITERATIONS
from sid_ranks import PROMPTS, run_on_ranks
from sid_reference import Reference
from torch import Tensor

from sid_trainer.config import TeacherConfig
from sid_trainer.teachers import open_teacher

RANKS = Path(__file__).parent.parent / "distillation" / "gradients_on_ranks.py"
SCALE = 1.5
RATE = 2e-3
"""Large: teacher and fake score start equal, and the loss is made of their difference."""


@dataclass(frozen=True)
class Family:
    """How a family's reference is made."""

    reference: type[Reference]
    network: Any
    beside: str
    resolution: int
    shape: tuple[int, int, int]


FAMILIES = {
    "sana": Family(SanaReference, SanaTransformer2DModel, "mask", 128, (4, 4, 4)),
    "sana-sprint": Family(SprintReference, SanaTransformer2DModel, "mask", 128, (4, 4, 4)),
    "flux": Family(FluxReference, FluxTransformer2DModel, "pooled", 16, (4, 8, 8)),
}


def sections(resolution: int) -> dict[str, Any]:
    return {
        "data": {"prompts": {"uri": "unused"}, "resolution": resolution},
        "distillation": {"guidance": {"strategy": "LSG", "scale": SCALE}},
        "training": {"gradientCheckpointing": True, "learningRate": RATE, "fakeLearningRate": RATE},
        "deepspeed": {
            "config": {"zero_optimization": {"stage3_param_persistence_threshold": 0}},
        },
    }


def reference_of(family: Family, directory: Path) -> Reference:
    teacher = open_teacher(
        TeacherConfig(model="teacher"), directory, torch.device("cpu"), torch.float32
    )
    condition = teacher.encode([PROMPTS[i % len(PROMPTS)] for i in range(8)]).tensors
    empty = teacher.encode([""]).tensors
    return family.reference(
        directory,
        condition["prompt_embeds"],
        condition[family.beside],
        empty["prompt_embeds"],
        empty[family.beside],
        kappas=(SCALE, SCALE, SCALE),
        weight=lambda s, x, f: 1 - s,
        rates=(RATE, RATE),
        network_class=family.network,
        shape=family.shape,
    )


def flat(tensors: Mapping[str, Tensor], names: list[str]) -> Tensor:
    return torch.cat([tensors[name].detach().double().flatten() for name in names])


def relative_error(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> float:
    names = sorted(theirs)
    difference = flat(ours, names) - flat(theirs, names)
    return float(difference.norm() / flat(theirs, names).norm())


def gradients_of(network: torch.nn.Module) -> dict[str, Tensor]:
    return {n: p.grad for n, p in network.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_are_those_of_the_equations(
    tiny_pipeline: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    family, directory = FAMILIES[name], tiny_pipeline(name)
    cases = tmp_path / "cases.json"
    cases.write_text(json.dumps({name: sections(family.resolution)}))
    run_on_ranks(tmp_path, str(RANKS), str(directory), str(cases), str(tmp_path))
    result = torch.load(tmp_path / f"{name}.pt")
    reference = reference_of(family, directory)
    for iteration in range(ITERATIONS):
        ours = result["iterations"][iteration]
        reference.iterate(iteration, fake_after=ours["fake"])
        assert relative_error(ours["fake_gradient"], gradients_of(reference.fake)) < 1e-5
        assert relative_error(ours["student_gradient"], gradients_of(reference.student)) < 1e-5
        reference.student.load_state_dict(ours["student"], strict=False)
        torch.testing.assert_close(
            ours["losses"], torch.tensor(reference.losses[-1]), rtol=1e-4, atol=1e-6
        )
