"""An iteration's operations are the method's and no more, and it waits for nothing.

On fake tensors, which have shapes but no numbers: the networks have the released models' widths.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from sid_trainer.config import StudentConfig, TrainingConfig
from sid_trainer.method import noise
from sid_trainer.method.conditions import Condition
from tests.bench import ranks
from tests.bench.flops import FakeRun, count
from tests.bench.host import HostWatch
from tests.bench.shapes import Shape, flux, sana, sd3

GPU = torch.device("cuda")
SHAPES = [
    sd3("sd3", layers=1, heads=24, qk_norm="rms_norm"),
    flux("flux", layers=1, single=1),
    sana("sana", layers=1, heads=36, cross_heads=16),
    sana("sana-sprint", layers=1, heads=36, cross_heads=16, sprint=True),
]
RULE = {"sd3": 21, "flux": 14, "sana": 21, "sana-sprint": 14}


def training(**options: Any) -> TrainingConfig:
    return TrainingConfig.model_validate(
        {"batch_size": 1, "gradient_checkpointing": False, "shared_roll_out": False, **options}
    )


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_operations_are_those_of_the_passes_that_the_method_needs(shape: Shape) -> None:
    counted = count(shape, training())
    assert counted.rule == RULE[shape.name]
    assert counted.ratio == pytest.approx(1, abs=1e-4)
    assert counted.forwards == pytest.approx(counted.rule, rel=0.08)


def test_a_shared_roll_out_saves_what_it_replaces() -> None:
    counted = count(SHAPES[0], training(shared_roll_out=True))
    assert counted.rule == 18.5
    assert counted.ratio == pytest.approx(1, abs=1e-4)


class HostGenerator(torch.Generator):
    """A generator wherever it is asked for: there is no GPU here."""

    def __new__(cls, device: Any = None) -> HostGenerator:
        return super().__new__(cls)


@pytest.fixture
def fake_gpu() -> Iterator[None]:
    """Tensors that seem to be on a GPU and have no numbers."""
    with (
        FakeTensorMode(),
        mock.patch.object(noise.torch, "Generator", HostGenerator),
        # Pinning needs a GPU; what matters is that copies are told not to wait.
        mock.patch.object(torch.Tensor, "pin_memory", lambda tensor: tensor),
    ):
        yield


@pytest.mark.parametrize(
    ("shape", "shared"),
    [(SHAPES[0], True), *((shape, False) for shape in SHAPES)],
    ids=lambda value: getattr(value, "name", "shared" if value else "anew"),
)
@pytest.mark.usefixtures("fake_gpu")
def test_an_iteration_waits_for_nothing(shape: Shape, shared: bool, tmp_path: Path) -> None:
    settings = training(shared_roll_out=shared)
    run = FakeRun(shape, tmp_path, GPU, StudentConfig(), settings, backward=False)
    with HostWatch() as watch:
        result = run.iterate(4)
    assert not watch.places
    assert result.metrics["generatorLoss"].device.type == "cuda"


def test_under_deepspeed_no_iteration_of_one_rank_waits_for_the_whole_device() -> None:
    places = ranks.run("waits", "cpu")
    assert any("is_invalid_grad_norm" in place for place in places), "the watch saw no update"
    assert not [place for place in places if "whole device" in place]


@pytest.mark.usefixtures("fake_gpu")
def test_prompts_reach_the_gpu_without_a_wait() -> None:
    condition = Condition({"prompt_embeds": torch.ones(2, 3, 4), "mask": torch.ones(2, 3).long()})
    with HostWatch() as watch:
        moved = condition.to(GPU, torch.bfloat16)
    assert not watch.places
    assert moved.tensors["prompt_embeds"].dtype == torch.bfloat16
    assert {tensor.device.type for tensor in moved.tensors.values()} == {"cuda"}


@pytest.mark.usefixtures("fake_gpu")
@pytest.mark.parametrize(
    "wait",
    [
        lambda: torch.ones(2, device=GPU).cpu(),
        lambda: torch.ones(2).to(GPU),
        lambda: torch.tensor([1.0, 2.0], device=GPU),
    ],
    ids=["to the host", "to the device", "from a list"],
)
def test_the_watch_sees_copies_that_wait(wait: Any) -> None:
    with HostWatch() as watch:
        wait()
    assert watch.places.total() == 1


@pytest.mark.usefixtures("fake_gpu")
def test_numbers_cannot_be_read() -> None:
    with pytest.raises(DataDependentOutputException):
        torch.ones((), device=GPU).item()
