"""Joining the processes of a run, and what they agree on.

Rules this module keeps:

* The processes' places come from the environment that torchrun sets; without it the run is one
  process.
* On CPU DeepSpeed would compile a shared-memory helper at start, for which a pod has no
  compiler, and which works within one machine only: it is left out, gloo does its work.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from datetime import timedelta

import torch

from sid_trainer.config import LaunchConfig

COLLECTIVE_TIMEOUT = timedelta(minutes=10)
"""How long a rank waits for the others before it fails. Loading and encoding must fit in it."""


@dataclass(frozen=True)
class Place:
    """This process among those of the run."""

    rank: int
    world_size: int
    device: torch.device

    def samples(self, batch_size: int) -> range:
        """This rank's places in a global batch."""
        share = batch_size // self.world_size
        return range(self.rank * share, (self.rank + 1) * share)


def choose_accelerator(launch: LaunchConfig) -> None:
    """Tell DeepSpeed the accelerator; to be called before it is imported.

    Left to itself it guesses, and warns when it finds no GPU.
    """
    os.environ["DS_ACCELERATOR"] = launch.device


def join(launch: LaunchConfig) -> Place:
    """Join the other processes; a collective.

    Raises:
        RuntimeError: when another process is not there in time.
    """
    choose_accelerator(launch)
    import deepspeed  # noqa: PLC0415 - reads DS_ACCELERATOR when it is imported

    if launch.device == "cpu":
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    _alone_without_torchrun()
    local_rank = int(os.environ["LOCAL_RANK"])
    device = torch.device("cpu")
    if launch.device == "cuda":
        device = torch.device("cuda", local_rank)
        torch.cuda.set_device(device)
    deepspeed.init_distributed(
        dist_backend="nccl" if device.type == "cuda" else "gloo",
        auto_mpi_discovery=False,
        timeout=COLLECTIVE_TIMEOUT,
        verbose=False,
    )
    rank, world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    return Place(rank, world_size, device)


def leave() -> None:
    """Leave the group of processes."""
    torch.distributed.destroy_process_group()


def _alone_without_torchrun() -> None:
    if "RANK" in os.environ:
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    os.environ |= {
        "RANK": "0",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
