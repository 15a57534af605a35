"""Joining the processes of a run, and what they agree on.

Rules this module keeps:

* The processes' places come from the environment that torchrun sets; without it the run is one
  process.
* On CPU DeepSpeed would compile a shared-memory helper at start, which works within one machine
  only: it is left out, gloo does its work.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from datetime import timedelta

import deepspeed
import torch
from deepspeed.accelerator import get_accelerator
from deepspeed.utils import groups

from sid_trainer.config import LaunchConfig
from sid_trainer.contract import FailureReason, TrainerError

COLLECTIVE_TIMEOUT = timedelta(minutes=30)
"""How long a collective of the training waits for the other ranks: encoding must fit in it.
Downloads, checkpoints and the export need not, see :mod:`sid_trainer.process.group`. The
watchdog's time comes on top, so that it speaks first: it knows who is waited for."""


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


def join(launch: LaunchConfig, watchdog_seconds: float = 0.0) -> Place:
    """Join the other processes; a collective.

    Args:
        launch: how the processes find each other.
        watchdog_seconds: of the run, see :mod:`sid_trainer.watch.watchdog`.

    Raises:
        TrainerError: ``InvalidConfiguration`` when the accelerator is not there, or the number of
            processes is not the configured one.
        RuntimeError: when another process is not there in time.
    """
    _check_accelerator(launch.device)
    if launch.device == "cpu":
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    compute_fp32_in_fp32()
    _alone_without_torchrun()
    device = torch.device("cpu")
    if launch.device == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    timeout = COLLECTIVE_TIMEOUT + timedelta(seconds=watchdog_seconds)
    deepspeed.init_distributed(
        dist_backend="nccl" if device.type == "cuda" else "gloo",
        auto_mpi_discovery=False,
        timeout=timeout,
        verbose=False,
    )
    give_gradients_time(timeout)
    place = Place(torch.distributed.get_rank(), torch.distributed.get_world_size(), device)
    if place.world_size != launch.world_size:
        raise TrainerError(
            FailureReason.INVALID_CONFIGURATION,
            f"{place.world_size} processes were started, but launch.nodes x "
            f"launch.processesPerNode is {launch.world_size}: make them equal",
        )
    return place


def give_gradients_time(timeout: timedelta) -> None:
    """Have gradients and their norms travel in a group that waits as long as that of the weights.

    DeepSpeed's engines take a copy of the group of all ranks for them, made where there is none
    yet, and with the default of the backend: 10 minutes for NCCL, after which healthy ranks abort
    before the watchdog could tell who hangs.

    Raises:
        RuntimeError: when this DeepSpeed takes its copy from elsewhere; a collective.
    """
    everyone = range(torch.distributed.get_world_size())
    groups._WORLD_GROUP = torch.distributed.new_group(ranks=everyone, timeout=timeout)
    if groups._get_data_parallel_group() is not groups._WORLD_GROUP:
        raise RuntimeError("DeepSpeed sends gradients in another group than the one it was given")


def compute_fp32_in_fp32() -> None:
    """Have convolutions of fp32 numbers computed in fp32, as matrix products are by default.

    cuDNN would take TF32, whose numbers have ten bits: in SANA's networks and in patch embeddings
    under ``precision: fp32``, and in the judges of every run.
    """
    torch.backends.cudnn.allow_tf32 = False


def leave() -> None:
    """Leave the group of processes."""
    torch.distributed.destroy_process_group()


def _check_accelerator(device: str) -> None:
    """DeepSpeed chose its accelerator when it was imported: by ``DS_ACCELERATOR``, or a guess."""
    found = get_accelerator().device_name()
    if found != device:
        raise TrainerError(
            FailureReason.INVALID_CONFIGURATION,
            f"the run is for {device}, but only {found} is found here: {_remedy(device)}",
        )


def _remedy(device: str) -> str:
    if device == "cpu":
        return "set the environment variable DS_ACCELERATOR to cpu"
    return (
        "nvidia-smi in such a pod tells whether it has GPUs (workers.gpusPerNode, "
        "workers.runtimeClassName) and a driver recent enough for CUDA "
        f"{torch.version.cuda}; without GPUs, train on CPU (workers.gpusPerNode 0)"
    )


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
