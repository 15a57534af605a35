"""Run on each rank: iterations of one collective each; a rank may be told to hang.

Arguments: the run folder, and the watchdog's bound in seconds.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from sid_trainer.process.ending import end_process, end_with
from sid_trainer.process.run_directory import RunDirectory
from sid_trainer.telling.console import set_up_logging
from sid_trainer.watch.watchdog import Watchdog

ITERATIONS = 5


def never_returns() -> None:
    """Where the stack of the hanging rank must be seen."""
    threading.Event().wait()


def collective() -> None:
    """One with all ranks. An error in it is not what is tested, and ends nothing."""
    try:
        dist.all_reduce(torch.ones(1))
    except RuntimeError:  # the hanging rank was the first to end, and the connection with it
        logging.getLogger(__name__).exception("rank %d lost its peer", dist.get_rank())
        never_returns()


def main() -> None:
    folder, seconds = Path(sys.argv[1]), float(sys.argv[2])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", timeout=timedelta(minutes=10))
    rank = dist.get_rank()
    hangs = rank == int(os.environ["HANGING_RANK"])
    set_up_logging(rank, dist.get_world_size())
    directory = RunDirectory(folder)
    with Watchdog(seconds, lambda error: end_process(error, rank, directory)) as watchdog:
        for iteration in range(1, ITERATIONS + 1):
            with watchdog.watch(f"iteration {iteration}"):
                if hangs and iteration == 3:
                    (folder / "hangs").touch()
                    never_returns()
                collective()


if __name__ == "__main__":
    main()
    end_with(0)
