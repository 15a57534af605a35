"""A training process of a few lines: joins a gloo group and sums until it is told to stop.

It shows its launcher a pulse that is overdue after ``PULSE_SECONDS``. Folder
``SID_TEST_CONTROL``: each process leaves ``started-RANK-PID``; ``finish`` ends the run;
``sums-RANK`` appears with the first pulse; ``fail-RANK`` (holding a failure reason) makes that rank
raise, once.
"""

import os
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from sid_trainer.config import RunConfig
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.process.ending import end_with
from sid_trainer.process.run_directory import Pulse, RunDirectory
from sid_trainer.training.worker import work

CONTROL = Path(os.environ["SID_TEST_CONTROL"])
PULSE_SECONDS = 20.0


def main() -> int:
    return work(Path(sys.argv[sys.argv.index("--config") + 1]), sum_until_told)


def sum_until_told(config: RunConfig) -> None:
    dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    rank = dist.get_rank()
    note = CONTROL / f"started-{rank}-{os.getpid()}"
    note.write_text(os.environ.get("JOB_COMPLETION_INDEX", "0"))
    assert dist.get_world_size() == config.launch.world_size
    threading.Thread(target=show_pulse, args=(rank,), daemon=True).start()
    while not finished(rank):
        fail_if_told(rank)
        time.sleep(0.05)
    dist.destroy_process_group()


def finished(rank: int) -> bool:
    """Ask rank 0 whether the run is over; every rank gets the same answer."""
    flag = torch.tensor([float(rank == 0 and (CONTROL / "finish").exists())])
    dist.all_reduce(flag)
    return bool(flag.item())


def show_pulse(rank: int, seconds: float = PULSE_SECONDS) -> None:
    directory = RunDirectory.from_environment()
    assert directory is not None
    while True:
        now = time.monotonic()
        directory.write_pulse(Pulse(rank=rank, pid=os.getpid(), time=now, bound=seconds))
        (CONTROL / f"sums-{rank}").touch()
        time.sleep(1)


def fail_if_told(rank: int) -> None:
    order = CONTROL / f"fail-{rank}"
    if order.exists():
        reason = order.read_text()
        order.unlink()
        if reason == "crash":
            raise RuntimeError("an unexpected thing")
        raise TrainerError(FailureReason(reason), "told to fail; do something about it")


if __name__ == "__main__":
    end_with(main())
