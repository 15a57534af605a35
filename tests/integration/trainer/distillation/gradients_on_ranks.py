"""Run on each rank: iterate, and let rank 0 save what the reference must equal.

Arguments: the teacher's directory, a file with the run's sections by case, the output folder. A
case may have a teacher of its own.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from sid_ranks import Rank, joined, quiet, run_config
from torch import Tensor

from sid_trainer.engine.distributed import leave
from sid_trainer.engine.shards import TrainedShards
from sid_trainer.process.ending import end_with

ITERATIONS = 5
LOSSES = ("fakeScoreLoss", "generatorLoss", "discriminatorLoss", "generatorAdversarialLoss")


def gradients(shards: TrainedShards) -> dict[str, Tensor] | None:
    """Gradients of the last update: with beta1 = 0 Adam's first moment is the gradient."""
    moments = shards.moments
    return shards.gather(moments["exp_avg"]) if moments else None


def observe(rank: Rank) -> dict[str, Any]:
    student, fake = rank.networks.student.shards, rank.networks.fake.shards
    return {
        "student_gradient": gradients(student),
        "fake_gradient": gradients(fake),
        "student": student.gather(student.weights),
        "fake": fake.gather(fake.weights),
    }


def main() -> None:
    teacher, cases, output = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    quiet()
    place = joined()
    for name, sections in json.loads(cases.read_text()).items():
        rank = Rank(run_config(teacher, **sections), place)
        iterations = []
        for iteration in range(ITERATIONS):
            metrics = rank.iterate(iteration).metrics
            losses = torch.stack([metrics[name] for name in LOSSES if name in metrics])
            torch.distributed.all_reduce(losses)
            iterations.append(
                observe(rank)
                | {"losses": losses / place.world_size, "norm": metrics.get("generatorGradNorm")}
            )
        fake = rank.networks.fake.shards
        final = {
            "student": rank.networks.student_state_dict(ema=False),
            "average": rank.networks.student_state_dict(ema=True),
            "fake": fake.gather(fake.weights),
        }
        if place.rank == 0:
            torch.save({"iterations": iterations, "final": final}, output / f"{name}.pt")
    leave()


if __name__ == "__main__":
    main()
    end_with(0)
