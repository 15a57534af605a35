"""Host memory and disk of a node, and what a run stores.

Rules this module keeps:

* It is the node that needs most: the first, whose first process exports the student.
* A text encoder is counted once a process. Processes share its pages only where the files hold the
  type that it computes in, so this is the most that it can be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sid_trainer.chunks import IMAGES_HELD, PROMPTS_HELD
from sid_trainer.config import RunConfig
from sid_trainer.memory.accounts import GIB, Account, Part
from sid_trainer.memory.need import average_bytes, zero_settings
from sid_trainer.memory.sharding import NetworkSize

PROGRAM = 4 * GIB
"""Assumed for each process: Python, torch, CUDA's and NCCL's host side, pinned buffers."""

_BF16, _FP32 = 2, 4
_FILE = 5 * 10**9
"""Bytes of a file of the student's weights, of which one is in memory while it is written."""


@dataclass(frozen=True)
class HostSizes:
    """What the need of a node is computed from.

    Attributes:
        network: one of the three.
        encoders: bytes of the text encoders' weights.
        autoencoder: bytes of the autoencoder's weights.
        prompt: numbers that an encoded prompt consists of.
        latent: numbers that the latents of a picture consist of.
    """

    network: NetworkSize
    encoders: int
    autoencoder: int
    prompt: int
    latent: int


@dataclass(frozen=True)
class Rank:
    """What one process has of a run.

    Attributes:
        processes: on its node.
        average: bytes of its part of the moving average.
        trained: bytes of its fp32 weights and moments, both trained networks together.
        offloaded: bytes of what the optimizer keeps in host memory.
        shared: bytes of the text encoders, whose weights all processes of a node map.
        autoencoder: bytes of the autoencoder, of which each process has its own.
        encodings: bytes of encoded prompts and images.
    """

    processes: int
    average: int
    trained: int
    offloaded: int
    shared: int
    autoencoder: int
    encodings: int


def node_need(config: RunConfig, sizes: HostSizes) -> Account:
    """Host memory of the node that needs most.

    Raises:
        TrainerError: ``InvalidConfiguration``, by ``deepspeed.config``.
    """
    zero, network = zero_settings(config), sizes.network
    shard = network.shard(config.launch.world_size)
    element = _FP32 if config.training.precision == "fp32" else _BF16
    average = average_bytes(config, network)
    offloaded = 2 * shard * (zero.optimizer + 2 * zero.accumulate) + average
    prompt, latent = element * sizes.prompt, _FP32 * sizes.latent
    images = IMAGES_HELD if config.distillation.adversarial else 0
    rank = Rank(
        processes=config.launch.processes_per_node,
        average=average,
        trained=2 * shard * zero.optimizer,
        offloaded=offloaded if zero.offloaded else 0,
        shared=sizes.encoders,
        autoencoder=sizes.autoencoder,
        encodings=PROMPTS_HELD * prompt + images * (prompt + latent),
    )
    precision = config.student.export_precision or config.training.precision
    written = network.total * (_FP32 if precision == "fp32" else _BF16)
    return node_account(rank, written + min(written, _FILE))


def node_account(rank: Rank, exported: int) -> Account:
    """Host memory of the first node.

    Args:
        rank: any of its processes.
        exported: bytes that the student's export takes: its weights once, in the type that they
            are exported in, gathered by the first process, and a file of them.
    """
    snapshot = rank.processes * (rank.trained + rank.average)
    steady = [
        ("programs", PROGRAM),
        ("autoencoder at rest", rank.autoencoder),
        ("encoded prompts and images", rank.encodings),
        ("optimizer in host memory (deepspeed.offload)", rank.offloaded),
    ]
    parts = [Part(name, rank.processes * size) for name, size in steady]
    parts.append(Part("text encoders at rest, mapped by all", rank.shared))
    larger = (
        Part("snapshot for a checkpoint, or its load on resume", snapshot)
        if snapshot > exported
        else Part("the exported student", exported)
    )
    return Account("node", [*parts, larger])


def disk_account(teacher: int, first_student: int, converted: int, exported: int) -> Account:
    """Disk of the first node, where no volume is named in SID_CACHE.

    Args:
        teacher: bytes of the teacher's files, where they are downloaded.
        first_student: bytes of the network of ``student.initFrom``, where it is downloaded.
        converted: bytes of the text encoders in the type that computes.
        exported: bytes of the student as it is exported.
    """
    return Account(
        "disk",
        [
            Part("the teacher, downloaded", teacher),
            Part("the network of student.initFrom, downloaded", first_student),
            Part("text encoders, if their files have another type", converted),
            Part("the exported student, until it is uploaded", exported),
        ],
    )


def storage_account(
    trained: Sequence[int], average: int, kept: int, student: int, others: int
) -> Account:
    """Objects in the bucket.

    Args:
        trained: bytes of each trained network's weights and moments, all processes together.
        average: bytes of the moving average.
        kept: checkpoints kept; one more is there while a new one is committed.
        student: bytes of the exported network.
        others: bytes of the components that are copied with it.
    """
    checkpoint = sum(trained) + average
    return Account(
        "storage",
        [
            Part(f"checkpoints: {kept} kept, 1 more while written", (kept + 1) * checkpoint),
            Part("student: its network", student),
            Part("student: the teacher's other components", others),
        ],
    )
