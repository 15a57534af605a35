"""One of two ranks, of which rank 0 works for longer than a collective may take.

``waiting_on_ranks.py RANK PORT`` prints what rank 0 returned.
"""

import sys
import time
from datetime import timedelta

import torch.distributed as dist

from sid_trainer.process.ending import end_with
from sid_trainer.process.group import TorchGroup, from_first

COLLECTIVE_SECONDS = 6.0


def work() -> str:
    """Keep the other rank waiting."""
    time.sleep(2 * COLLECTIVE_SECONDS)
    return "done"


def main(rank: int, port: int) -> None:
    store = dist.TCPStore("127.0.0.1", port, 2, is_master=rank == 0)
    limit = timedelta(seconds=COLLECTIVE_SECONDS)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=limit)
    print(from_first(TorchGroup(), work))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
    end_with(0)
