"""Run on each rank: iterations of one collective each; a rank may be told to hang.

Arguments: the run folder, the watchdog's bound in seconds, and where the rank hangs (``iteration``,
``data``, or ``unwatched``: between the two).
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from sid_trainer.process.ending import end_process, end_with
from sid_trainer.process.group import TorchGroup
from sid_trainer.process.run_directory import RunDirectory
from sid_trainer.telling.console import set_up_logging
from sid_trainer.watch import watchdog as watching
from sid_trainer.watch.watchdog import Watchdog

ITERATIONS = 5
HANGING = 3


def never_returns() -> None:
    """Where the stack of the hanging rank must be seen."""
    threading.Event().wait()


def with_all(operation: Callable[[], object]) -> None:
    """Do it with all ranks. An error in it is not what is tested, and ends nothing."""
    try:
        operation()
    except RuntimeError:  # the hanging rank was the first to end, and the connection with it
        logging.getLogger(__name__).exception("rank %d lost its peer", dist.get_rank())
        never_returns()


def main() -> None:
    folder, seconds, place = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
    torch.set_num_threads(1)
    watching.LONGEST_TICK = 1.0  # the same for all bounds
    dist.init_process_group("gloo", timeout=timedelta(minutes=10))
    rank, group = dist.get_rank(), TorchGroup()
    set_up_logging(rank, dist.get_world_size())
    directory = RunDirectory(folder)

    def come_to(here: str) -> None:
        if here == place and rank == int(os.environ["HANGING_RANK"]):
            (folder / "hangs").touch()
            never_returns()

    with Watchdog(seconds, lambda error: end_process(error, rank, directory)) as watchdog:
        for iteration in range(1, ITERATIONS + 1):
            hanging = iteration == HANGING
            with watchdog.watch(f"the data of iteration {iteration}", paced=False):
                if hanging:
                    come_to("data")
                with_all(lambda: group.all_gather(None))
            if hanging:
                come_to("unwatched")
            with watchdog.watch(f"iteration {iteration}"):
                if hanging:
                    come_to("iteration")
                with_all(lambda: dist.all_reduce(torch.ones(1)))


if __name__ == "__main__":
    main()
    end_with(0)
