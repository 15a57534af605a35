"""Run on each rank: train a small network under each DeepSpeed setting, and let rank 0 save it.

Arguments: a file with settings by case, of which those to be refused are ``zero_optimization``'s;
the output folder.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from sid_ranks import joined, quiet, run_config
from torch import Tensor, nn

from sid_trainer.engine import partition
from sid_trainer.engine.deepspeed_config import teacher_config, trained_network_config
from sid_trainer.engine.distributed import leave
from sid_trainer.engine.loading import load_shards
from sid_trainer.engine.trained_network import FrozenNetwork, TrainedNetwork
from sid_trainer.method.learning_rate import LearningRate
from sid_trainer.process.ending import end_with

RATE, ITERATIONS, MICRO_BATCHES, SIZE = 1e-2, 2, 2, 2
WIDTHS = (5, 7, 3)


class Known:
    """Weights that every process knows."""

    def __contains__(self, name: str) -> bool:
        return True

    def read(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Numbers that depend on the name."""
        return torch.randn(shape, generator=torch.Generator().manual_seed(sum(name.encode())))


def build() -> nn.Module:
    first, second, third = WIDTHS
    return nn.Sequential(nn.Linear(first, second), nn.Tanh(), nn.Linear(second, third))


def inputs(iteration: int) -> Tensor:
    """Of all ranks and micro-batches ``[M, R, B, C]``."""
    generator = torch.Generator().manual_seed(iteration)
    return torch.randn(MICRO_BATCHES, 2, SIZE, WIDTHS[0], generator=generator)


def loaded(config: Mapping[str, Any], rank: int) -> nn.Module:
    with partition.partitioned(dict(config)):
        module = build()
    partition.require_plain_shards(module, torch.device("cpu"), torch.float32)
    load_shards(Known(), module, rank)
    return module


def trained(settings: dict[str, Any], rank: int) -> dict[str, Any]:
    run = run_config(
        "unused",
        training={"microBatchSize": SIZE, "gradientCheckpointing": True},
        deepspeed={"config": settings},
    )
    config = trained_network_config(run, RATE)
    network = TrainedNetwork("student", loaded(config, rank), config, LearningRate(RATE, 0))
    teacher = FrozenNetwork(loaded(teacher_config(run), rank), teacher_config(run))
    answers = []
    for iteration in range(ITERATIONS):
        network.begin(iteration)
        for micro_batch in inputs(iteration):
            with teacher.frozen() as frozen, torch.no_grad():
                answers.append(frozen(micro_batch[rank]))
            network.accumulate(network.training(micro_batch[rank]).square().mean())
    shards = network.shards
    weights = shards.gather(shards.weights)
    return {"weights": weights, "answers": torch.stack(answers)}


def refusal(zero: dict[str, Any], rank: int) -> str:
    """Why shards are not used that a setting has changed, which got past the configuration."""
    config = teacher_config(run_config("unused"))
    config["zero_optimization"] |= zero
    try:
        loaded(config, rank)
    except RuntimeError as error:
        return str(error)
    return ""


def main() -> None:
    cases, output = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    quiet()
    place = joined()
    results = {name: trained(settings, place.rank) for name, settings in cases["allowed"].items()}
    refusals = {name: refusal(zero, place.rank) for name, zero in cases["refused"].items()}
    if place.rank == 0:
        torch.save({"trained": results, "refusals": refusals}, output / "results.pt")
    leave()


if __name__ == "__main__":
    main()
    end_with(0)
