"""Run on each rank: one rank gets a prompt that is not a number; save what each is told.

Arguments: the teacher's directory, the output folder.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sid_ranks import Rank, joined, quiet, run_config

from sid_trainer.contract import TrainerError
from sid_trainer.distributed import leave
from sid_trainer.iteration import MicroBatch
from sid_trainer.loop import Schedule, run_loop


class PoisonedBatches:
    """The rank's batches; in the third iteration rank 1's are not finite."""

    def __init__(self, batch: list[MicroBatch], rank: int) -> None:
        self._batch, self._rank = batch, rank

    def of(self, iteration: int) -> list[MicroBatch]:
        if self._rank == 1 and iteration == 2:
            for micro in self._batch:
                micro.condition.tensors["pooled"].fill_(float("nan"))
        return self._batch


class Recorder:
    """Services that note their calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def iteration(self, iteration: int, metrics: Mapping[str, float]) -> None:
        self.calls.append(f"iteration {iteration} {metrics['generatorLoss']!r}")

    def samples(self, iteration: int) -> None:
        self.calls.append(f"samples {iteration}")

    def checkpoint(self, iteration: int) -> None:
        self.calls.append(f"checkpoint {iteration}")


def main() -> None:
    teacher, output = sys.argv[1], Path(sys.argv[2])
    quiet()
    place = joined()
    rank = Rank(run_config(teacher), place)
    recorder = Recorder()
    batches: Any = PoisonedBatches(rank.batch, place.rank)
    schedule = Schedule(total=6, samples_every=2, checkpoint_every=1)
    try:
        run_loop(rank.distiller, batches, schedule, recorder, 0)
    except TrainerError as error:
        recorder.calls.append(f"{error.reason.value}: {error}")
    (output / f"told-{place.rank}.txt").write_text("\n".join(recorder.calls))
    leave()


if __name__ == "__main__":
    main()
