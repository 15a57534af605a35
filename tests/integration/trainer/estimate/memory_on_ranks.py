"""Run on each rank: train a little, and let rank 0 write down what was really allocated.

Arguments: a file with teacher's directory and the run's sections by case, the output file.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from unittest import mock

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "distillation"))

from sid_ranks import Rank, joined, quiet, run_config

from sid_trainer.engine.distributed import leave
from sid_trainer.estimate.live import LiveBytes
from sid_trainer.process.ending import end_with


def tensors() -> Iterator[torch.Tensor]:
    """Every tensor of the process, gradients and shards included."""
    for found in gc.get_objects():
        if issubclass(type(found), torch.Tensor):
            yield found
            if found.is_leaf and found.grad is not None:
                yield found.grad


def storages() -> dict[int, int]:
    """Bytes of the storages behind them, by address."""
    gc.collect()
    found = (t.untyped_storage() for t in tensors() if t.device.type == "cpu")
    return {storage.data_ptr(): storage.nbytes() for storage in found if storage.nbytes()}


def encoders() -> set[int]:
    """Storages of the text encoders, which rest in host memory."""
    modules = (m for m in gc.get_objects() if issubclass(type(m), torch.nn.Module))
    return {
        tensor.untyped_storage().data_ptr()
        for module in modules
        if type(module).__module__.startswith("transformers.")
        for tensor in (*module.parameters(), *module.buffers())
    }


def observed(rank: Rank, before: set[int]) -> dict[str, int]:
    """Bytes at rest, and the most that the two updates and a snapshot take besides."""
    rank.iterate(0)  # Adam's moments come with the first step
    others = before | encoders()
    ours = {at: size for at, size in storages().items() if at not in others}
    fake, student = of_updates(rank)
    snapshot = LiveBytes().ignore(tensors())
    with snapshot:
        rank.networks.capture()
    return {
        "resident": sum(ours.values()),
        "fake": fake,
        "student": student,
        "snapshot": snapshot.peak,
    }


def of_updates(rank: Rank) -> tuple[int, int]:
    """The most that is alive in the fake score's update, and in the student's."""
    network, peaks = rank.networks.fake, list[int]()
    frozen, live = network.frozen, LiveBytes().ignore(tensors())

    def noted() -> AbstractContextManager[Any]:
        """The fake score is frozen when the student's update begins."""
        peaks.append(live.peak)
        live.reset()
        return frozen()

    with live, mock.patch.object(network, "frozen", noted):
        rank.iterate(1)
    (fake,) = peaks
    return fake, live.peak


def main() -> None:
    cases, output = Path(sys.argv[1]), Path(sys.argv[2])
    quiet()
    place = joined()
    results = {}
    for name, (teacher, sections) in json.loads(cases.read_text()).items():
        before = set(storages())
        rank = Rank(run_config(teacher, **sections), place)
        results[name] = observed(rank, before)
        del rank
    if place.rank == 0:
        output.write_text(json.dumps(results))
    leave()


if __name__ == "__main__":
    main()
    end_with(0)
