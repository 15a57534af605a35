"""A run's need of GPU memory, put together from the sizes of its networks and of its phases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sid_trainer.config import RunConfig
from sid_trainer.engine.deepspeed_config import trained_network_config
from sid_trainer.engine.gather_sizes import with_gather_sizes
from sid_trainer.memory.accounts import RESERVE, Account, GpuNeed, Part
from sid_trainer.memory.sharding import NetworkSize, ZeroSettings

_AVERAGE_BYTES = 4


@dataclass(frozen=True)
class Visit:
    """What modules take on the accelerator that are there between updates only.

    Attributes:
        weights: bytes of their weights, all there together.
        work: most bytes of temporary tensors while they compute.
    """

    weights: int
    work: int


@dataclass(frozen=True)
class Sizes:
    """What the need of a run is computed from.

    Attributes:
        network: one of the three.
        fake: most bytes of activations and gradients in the fake score's update.
        student: the same of the student's update, all three networks together.
        encoders: the text encoders.
        decoder: the autoencoder.
    """

    network: NetworkSize
    fake: int
    student: int
    encoders: Visit
    decoder: Visit


def zero_settings(config: RunConfig, network: NetworkSize) -> ZeroSettings:
    """How DeepSpeed keeps the trained networks of a run, which are of a size.

    Raises:
        TrainerError: ``InvalidConfiguration``, by ``deepspeed.config``.
    """
    engine = trained_network_config(config, config.training.student_rate)
    return ZeroSettings.of(with_gather_sizes(engine, network.largest_module))


def average_bytes(config: RunConfig, network: NetworkSize) -> int:
    """Bytes of a process's part of the moving average."""
    averaged = config.training.ema.half_life_images > 0
    return _AVERAGE_BYTES * network.shard(config.launch.world_size) if averaged else 0


def gpu_need(config: RunConfig, sizes: Sizes) -> GpuNeed:
    """What a run needs on each GPU.

    Raises:
        TrainerError: ``InvalidConfiguration``, by ``deepspeed.config``.
    """
    zero = zero_settings(config, sizes.network)
    return GpuNeed(
        resident=Account("always", _resident(config, zero, sizes.network)),
        phases=_phases(config, zero, sizes),
    )


def _resident(config: RunConfig, zero: ZeroSettings, network: NetworkSize) -> Sequence[Part]:
    shard = network.shard(config.launch.world_size)
    on_gpu = 0 if zero.offloaded else 1
    whole = zero.persistent(network) + zero.compute * network.buffers
    return [
        Part("compute weights of teacher, fake score and student", 3 * zero.compute * shard),
        Part("optimizer's weights of the two trained networks", on_gpu * 2 * zero.master * shard),
        Part("Adam's moments of the two", on_gpu * 2 * zero.moments * shard),
        Part("accumulated gradients of the two", on_gpu * 2 * zero.accumulate * shard),
        Part("moving average of the student", on_gpu * average_bytes(config, network)),
        Part("reduction buckets of the two", 2 * zero.bucket()),
        Part("small parameters and buffers, whole, of all three", 3 * whole),
        Part("reserve for CUDA, NCCL and libraries (assumed)", RESERVE),
    ]


def _phases(config: RunConfig, zero: ZeroSettings, sizes: Sizes) -> Sequence[Account]:
    network = sizes.network
    moving = [
        Part("weights on their way", zero.in_flight(network)),
        Part("gradients being reduced", zero.reduction(network)),
    ]
    both = config.training.shared_roll_out
    step = zero.step(network, config.launch.world_size)
    return [
        Account(
            "fake score's update",
            [
                Part("activations and gradients (measured)", sizes.fake),
                Part("gathered weights", zero.gathered(network, 2 if both else 1)),
                *moving,
            ],
        ),
        Account(
            "student's update",
            [
                Part("activations and gradients of all three (measured)", sizes.student),
                Part("gathered weights of all three", zero.gathered(network, 3)),
                *moving,
            ],
        ),
        Account("optimizer's step", [Part("gradients and temporary copies", step)]),
        _visit("text encoders", sizes.encoders),
        _visit("autoencoder, first GPU", sizes.decoder),
    ]


def _visit(name: str, visit: Visit) -> Account:
    return Account(name, [Part("weights", visit.weights), Part("work", visit.work)])
