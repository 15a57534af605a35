"""Host memory and disk of a node, and what a run stores.

Rules this module keeps:

* It is the node that needs most: the first, whose first process exports the student.
* Text encoders are counted once a node: its processes map the same files, in the type that they
  compute in.
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


def node_need(config: RunConfig, sizes: HostSizes) -> Account:
    """Host memory of the node that needs most.

    Raises:
        TrainerError: ``InvalidConfiguration``, by ``deepspeed.config``.
    """
    zero = zero_settings(config, sizes.network)
    shard = sizes.network.shard(config.launch.world_size)
    average = average_bytes(config, sizes.network)
    trained = 2 * shard * zero.optimizer
    offloaded = trained + 4 * shard * zero.accumulate + average if zero.offloaded else 0
    steady = [
        ("programs", PROGRAM),
        ("autoencoder at rest", sizes.autoencoder),
        ("encoded prompts and images", _encodings(config, sizes)),
        ("optimizer in host memory (deepspeed.offload)", offloaded),
    ]
    processes = config.launch.processes_per_node
    parts = [Part(name, processes * size) for name, size in steady]
    parts.append(Part("text encoders at rest, mapped by all", sizes.encoders))
    snapshot, exported = processes * (trained + average), _exported(config, sizes.network)
    larger = (
        Part("snapshot for a checkpoint, or its load on resume", snapshot)
        if snapshot > exported
        else Part("the exported student", exported)
    )
    return Account("node", [*parts, larger])


def _encodings(config: RunConfig, sizes: HostSizes) -> int:
    """Bytes of the encoded prompts and images that a process holds."""
    prompt = _element(config.training.precision) * sizes.prompt
    images = IMAGES_HELD if config.distillation.adversarial else 0
    return PROMPTS_HELD * prompt + images * (prompt + _FP32 * sizes.latent)


def _exported(config: RunConfig, network: NetworkSize) -> int:
    """Bytes that the export takes: the weights once, as they are written, and a file of them."""
    precision = config.student.export_precision or config.training.precision
    written = network.total * _element(precision)
    return written + min(written, _FILE)


def _element(precision: str) -> int:
    """Bytes of a number."""
    return _FP32 if precision == "fp32" else _BF16


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
