"""Which kind a pass is of, how far the program may be ahead, and what is refused of DeepSpeed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from deepspeed.runtime.zero.partitioned_param_coordinator import PartitionedParameterCoordinator
from torch import nn

from sid_trainer.engine.gathering import BLOCKS_AHEAD, Pace, Pass, gather_ahead


@pytest.mark.parametrize(
    ("gradient", "trained", "kind"),
    [
        (False, True, Pass.FORWARD),
        (False, False, Pass.FORWARD),
        (True, True, Pass.TO_WEIGHTS),
        (True, False, Pass.TO_INPUT),
    ],
)
def test_a_pass_is_known_when_it_begins(gradient: bool, trained: bool, kind: Pass) -> None:
    network = nn.Linear(2, 2).requires_grad_(trained)
    with torch.set_grad_enabled(gradient):
        assert Pass.beginning(network) is kind


class Device:
    """A device that does what it was given only when it is waited for."""

    def __init__(self) -> None:
        self.given, self.done = 0, 0

    def event(self) -> Any:
        place = 0

        def record() -> None:
            nonlocal place
            place = self.given

        def synchronize() -> None:
            self.done = max(self.done, place)

        return SimpleNamespace(record=record, synchronize=synchronize)


def test_the_program_is_never_further_ahead_of_the_device_than_allowed() -> None:
    device = Device()
    pace = Pace(device.event)
    ahead = []
    for _ in range(10):
        pace.begin_block()
        ahead.append(device.given - device.done)
        device.given += 1
    assert ahead == [0, 1, *[BLOCKS_AHEAD] * 8]


class Renamed(PartitionedParameterCoordinator):  # type: ignore[misc]
    """As of a DeepSpeed that does it in another way."""

    def __init__(self) -> None:
        pass


def test_another_deepspeed_is_refused() -> None:
    coordinator = Renamed()
    offload = SimpleNamespace(
        param_coordinator=coordinator, get_param_coordinator=lambda: coordinator
    )
    with pytest.raises(RuntimeError, match="coordinates its gathers in another way"):
        gather_ahead(SimpleNamespace(parameter_offload=offload))
