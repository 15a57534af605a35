"""Run on each rank: iterate, and let rank 0 write down which weights were gathered when.

Arguments: the teacher's directory, a file with the run's sections by case, the output file.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any
from unittest import mock

from deepspeed.runtime.zero import partitioned_param_coordinator as coordination
from deepspeed.runtime.zero.partition_parameters import ZeroParamStatus
from sid_ranks import Rank, joined, quiet, run_config
from torch import nn

from sid_trainer.engine.blocks import blocks, largest_gather
from sid_trainer.engine.distributed import leave
from sid_trainer.process.ending import end_with

WARM_UP, ITERATIONS = 2, 5
"""Iterations in which every kind of pass is recorded, and all."""


class Watch:
    """Counts the weights of one network that are gathered for its blocks.

    Attributes:
        needed: were not on their way when their block began.
        gathered: all.
        most: that were whole or on their way together, small ones that stay whole left out.
    """

    def __init__(self, module: nn.Module) -> None:
        self.needed = self.gathered = self.most = 0
        self._blocks = set(blocks(module))
        self._shared_out = [p for p in module.parameters() if not p.ds_persist]
        self._of_blocks = {p for block in self._blocks for p in block.parameters()}

    def begins(self, module: nn.Module) -> None:
        if module in self._blocks:
            self.needed += sum(p.ds_numel for p in module.parameters() if absent(p))

    def began(self) -> None:
        whole = sum(p.ds_numel for p in self._shared_out if not absent(p))
        self.most = max(self.most, whole)

    def takes(self, parameter: Any) -> None:
        if parameter in self._of_blocks:
            self.gathered += parameter.ds_numel

    def forget(self) -> None:
        self.needed = self.gathered = self.most = 0


def absent(parameter: Any) -> bool:
    return bool(parameter.ds_status is ZeroParamStatus.NOT_AVAILABLE)


def observed(rank: Rank) -> dict[str, Any]:
    with rank.networks.teacher.frozen() as teacher:
        modules: dict[str, Any] = {
            "student": rank.networks.student.module,
            "fake": rank.networks.fake.module,
            "teacher": teacher,
        }
    watches = {name: Watch(module) for name, module in modules.items()}
    compared: Counter[int] = Counter()
    fetch = coordination.PartitionedParameterCoordinator.fetch_sub_module
    register = coordination.InflightParamRegistry.__setitem__
    compare = coordination.assert_ints_same_as_other_ranks

    def fetches(self: Any, module: nn.Module, forward: bool) -> None:
        (watch,) = (w for n, w in watches.items() if module in set(modules[n].modules()))
        watch.begins(module)
        fetch(self, module, forward)
        watch.began()

    def registers(self: Any, parameter: Any, handle: Any) -> None:
        for watch in watches.values():
            watch.takes(parameter)
        register(self, parameter, handle)

    def compares(numbers: Any) -> None:
        compared[iteration] += 1
        compare(numbers)

    with (
        mock.patch.object(
            coordination.PartitionedParameterCoordinator, "fetch_sub_module", fetches
        ),
        mock.patch.object(coordination.InflightParamRegistry, "__setitem__", registers),
        mock.patch.object(coordination, "assert_ints_same_as_other_ranks", compares),
    ):
        for iteration in range(ITERATIONS):
            if iteration == WARM_UP:
                for watch in watches.values():
                    watch.forget()
            rank.iterate(iteration)
    return {
        "networks": {
            name: {"needed": watch.needed, "gathered": watch.gathered, "most": watch.most}
            for name, watch in watches.items()
        },
        "compared": [compared[iteration] for iteration in range(ITERATIONS)],
        "largest": largest_gather(modules["student"], lambda parameter: int(parameter.ds_numel)),
    }


def main() -> None:
    teacher, cases, output = sys.argv[1:]
    quiet()
    place = joined()
    results = {
        name: observed(Rank(run_config(teacher, **sections), place))
        for name, sections in json.loads(Path(cases).read_text()).items()
    }
    if place.rank == 0:
        Path(output).write_text(json.dumps(results))
    leave()


if __name__ == "__main__":
    main()
    end_with(0)
