"""Every family on two ranks under ZeRO-3 against plain PyTorch on the joined batch.

Each gradient is compared at the same weights: those that the ranks had. Adam makes whole steps of
gradients that are mere rounding, so two right runs drift apart. SD3 is in ../distillation.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FluxTransformer2DModel, SanaTransformer2DModel
from family_reference import (
    FluxReference,
    SanaReference,
    SprintReference,
    SprintTeacherReference,
)
from gradients_on_ranks import ITERATIONS
from said_families import teacher_config
from sid_ranks import CAPTIONS, PROMPTS, real_latents, run_on_ranks
from sid_reference import Reference
from torch import Tensor

from sid_trainer.teachers import open_teacher

RANKS = Path(__file__).parent.parent / "distillation" / "gradients_on_ranks.py"
SCALE = 1.5
RATE = 2e-3
"""Large: teacher and fake score start equal, and the loss is made of their difference."""
BATCH = 8


@dataclass(frozen=True)
class Family:
    """How a family's reference is made."""

    reference: type[Reference]
    network: Any
    beside: str
    resolution: int
    shape: tuple[int, int, int]


@dataclass(frozen=True)
class Case:
    """What is trained, in the words of a run and in those of the reference."""

    distillation: Mapping[str, Any]
    kappas: tuple[float, float, float]
    shared_roll_out: bool = False
    real_from: int | None = None


FAMILIES = {
    "sana": Family(SanaReference, SanaTransformer2DModel, "mask", 128, (4, 4, 4)),
    "sana-sprint-said": Family(
        SprintTeacherReference, SanaTransformer2DModel, "mask", 128, (4, 4, 4)
    ),
    "sana-sprint": Family(SprintReference, SanaTransformer2DModel, "mask", 128, (4, 4, 4)),
    "flux": Family(FluxReference, FluxTransformer2DModel, "pooled", 16, (4, 8, 8)),
}
GUIDED = {"guidance": {"strategy": "LSG", "scale": SCALE}}
CASES = {
    "data-free": Case(GUIDED, (SCALE, SCALE, SCALE)),
    "shared-roll-out": Case(
        {"guidance": {"strategy": "AntiCFG", "scale": 0.5}}, (-0.5, -0.5, 1.0), shared_roll_out=True
    ),
    "data-aided": Case(
        GUIDED | {"adversarial": {"studentStartsAfterImages": 0, "startsAfterImages": BATCH}},
        (SCALE, SCALE, SCALE),
        shared_roll_out=True,
        real_from=1,
    ),
}


def sections(name: str, case: Case, directory: Path) -> dict[str, Any]:
    """A run's sections, with everything gathered when it is needed only."""
    images = {} if case.real_from is None else {"images": {"uri": "unused"}}
    return {
        "teacher": {"model": str(directory), "family": teacher_config(name).family},
        "data": {
            "prompts": {"uri": "unused"},
            "resolution": FAMILIES[name].resolution,
            **images,
        },
        "distillation": dict(case.distillation),
        "training": {
            "batchSize": BATCH,
            "gradientCheckpointing": True,
            "learningRate": RATE,
            "fakeLearningRate": RATE,
            "sharedRollOut": case.shared_roll_out,
        },
        "deepspeed": {
            "config": {"zero_optimization": {"stage3_param_persistence_threshold": 0}},
        },
    }


def reference_of(name: str, case: Case, directory: Path) -> Reference:
    family = FAMILIES[name]
    teacher = open_teacher(teacher_config(name), directory, torch.device("cpu"), torch.float32)
    condition = teacher.encode([PROMPTS[i % len(PROMPTS)] for i in range(BATCH)]).tensors
    captions = teacher.encode([CAPTIONS[i % len(CAPTIONS)] for i in range(BATCH)]).tensors
    empty = teacher.encode([""]).tensors
    images = real_latents(range(BATCH), family.shape)
    return family.reference(
        directory,
        condition["prompt_embeds"],
        condition[family.beside],
        empty["prompt_embeds"],
        empty[family.beside],
        kappas=case.kappas,
        weight=lambda s, x, f: 1 - s,
        rates=(RATE, RATE),
        network_class=family.network,
        shape=family.shape,
        shared_roll_out=case.shared_roll_out,
        real=None
        if case.real_from is None
        else (images, captions["prompt_embeds"], captions[family.beside]),
        real_from=case.real_from or 0,
    )


@pytest.fixture(scope="module")
def results(
    tiny_pipeline: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], Any]:
    """What two ranks computed, by family and case: one start for all."""
    output = tmp_path_factory.mktemp("gradients")
    cases = output / "cases.json"
    settings = {
        f"{name}-{case}": sections(name, CASES[case], tiny_pipeline(name))
        for name, case in product(FAMILIES, CASES)
    }
    cases.write_text(json.dumps(settings))
    run_on_ranks(output, str(RANKS), "each case names its own", str(cases), str(output))
    return lambda name, case: torch.load(output / f"{name}-{case}.pt")


def flat(tensors: Mapping[str, Tensor], names: list[str]) -> Tensor:
    return torch.cat([tensors[name].detach().double().flatten() for name in names])


def relative_error(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> float:
    names = sorted(theirs)
    difference = flat(ours, names) - flat(theirs, names)
    return float(difference.norm() / flat(theirs, names).norm())


def gradients_of(network: torch.nn.Module) -> dict[str, Tensor]:
    return {n: p.grad for n, p in network.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_are_those_of_the_equations(
    tiny_pipeline: Callable[[str], Path], results: Callable[[str, str], Any], name: str, case: str
) -> None:
    reference = reference_of(name, CASES[case], tiny_pipeline(name))
    for iteration, ours in enumerate(results(name, case)["iterations"]):
        reference.iterate(iteration, fake_after=ours["fake"])
        assert relative_error(ours["fake_gradient"], gradients_of(reference.fake)) < 1e-5
        assert relative_error(ours["student_gradient"], gradients_of(reference.student)) < 1e-5
        reference.student.load_state_dict(ours["student"], strict=False)
        torch.testing.assert_close(
            ours["losses"], torch.tensor(reference.losses[-1]), rtol=1e-4, atol=1e-6
        )
    assert len(reference.losses) == ITERATIONS
    assert len(reference.losses[-1]) == (2 if CASES[case].real_from is None else 4)
