"""Run on each rank: a command of ``python -m sid_trainer`` that ends while a collective does.

On rank 1 a thread of gloo has summed and waits for the interpreter, to give the tensor back, when
the main thread comes to its end without having given it away.
"""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Sequence
from datetime import timedelta

import torch
import torch.distributed as dist

from sid_trainer import cli
from sid_trainer.contract import ExitCode

KEPT_SECONDS = 0.05
"""For so long the main thread keeps the interpreter from another one: until it has ended."""


def main(arguments: Sequence[str]) -> int:
    """The command; it leaves a collective of rank 1 under way."""
    rank, port = int(os.environ["RANK"]), int(os.environ["MASTER_PORT"])
    store = dist.TCPStore("127.0.0.1", port, is_master=rank == 0, wait_for_workers=False)
    limit = timedelta(minutes=2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=limit)
    tensor = torch.ones(1)
    if rank == 1:
        sys.setswitchinterval(KEPT_SECONDS)
        dist.all_reduce(tensor, async_op=True)
        store.set("leaving", "")
        summed = tensor.numpy()
        del tensor
        while summed[0] == 1:  # calls nothing that would give the interpreter away
            pass
    else:
        store.wait(["leaving"])
        dist.all_reduce(tensor)
    return ExitCode.DONE


if __name__ == "__main__":
    cli.COMMANDS["end"] = cli.Command(__name__, "")
    sys.argv[1:] = ["end"]
    runpy.run_module("sid_trainer", run_name="__main__")
