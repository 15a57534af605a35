"""A run's need of memory, put together from its parts. Nothing is loaded or trained for it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

from sid_trainer.config import RunConfig
from sid_trainer.data.encoding import CAPACITY as PROMPTS_HELD
from sid_trainer.data.images.latents import CAPACITY as IMAGES_HELD
from sid_trainer.deepspeed_config import trained_network_config
from sid_trainer.estimate.activations import META, Batch, measured_updates, teacher_of
from sid_trainer.estimate.conditions import condition_bytes, condition_shapes
from sid_trainer.estimate.host import Rank, node_account, storage_account
from sid_trainer.estimate.report import GIB, Account, Estimate, Part
from sid_trainer.estimate.sharding import NetworkSize, ZeroSettings
from sid_trainer.estimate.skeleton import Skeleton
from sid_trainer.estimate.visitors import Visit, decoding_visit, encoding_visit

RESERVE = int(2.5 * GIB)
"""Assumed on each GPU: CUDA's context and kernels, NCCL's buffers, libraries' workspaces."""
_AVERAGE_BYTES = 4


@dataclass(frozen=True)
class _Run:
    """What all parts are computed from."""

    config: RunConfig
    network: NetworkSize
    zero: ZeroSettings
    batch: Batch
    visit: Visit
    decoding: Visit

    @property
    def processes(self) -> int:
        return self.config.launch.world_size

    @property
    def shard(self) -> int:
        return self.network.shard(self.processes)

    @property
    def average(self) -> int:
        """Bytes of a process's part of the moving average."""
        averaged = self.config.training.ema.half_life_images > 0
        return _AVERAGE_BYTES * self.shard if averaged else 0


def estimate_run(config: RunConfig, skeleton: Skeleton) -> Estimate:
    """What a run needs.

    Args:
        config: the run.
        skeleton: configuration files of its teacher.

    Raises:
        TrainerError: ``InvalidConfiguration`` where the teacher cannot be distilled as configured.
    """
    run = _prepared(config, skeleton)
    updates = measured_updates(skeleton, config, run.batch)
    title = (
        f"{config.teacher.model}, {_resolution(run.batch, config)}, "
        f"{config.launch.nodes} x {config.launch.processes_per_node} GPUs, "
        f"{config.micro_batch_size} of {config.training.batch_size} images at a time, "
        f"{config.training.precision}"
    )
    return Estimate(
        title=title,
        parameters=run.network.total,
        resident=Account("always", _resident(run)),
        phases=_phases(run, updates["fake"], updates["student"]),
        node=_node(run),
        storage=_storage(run),
    )


def _prepared(config: RunConfig, skeleton: Skeleton) -> _Run:
    dtype = torch.float32 if config.training.precision == "fp32" else torch.bfloat16
    with tempfile.TemporaryDirectory(prefix="sid-estimate-") as folder:
        teacher = teacher_of(skeleton, config, dtype, Path(folder))
        latent = teacher.latent_shape(config.data.resolution or teacher.default_resolution)
        with META:
            network = teacher.build_network()
        shapes = condition_shapes(teacher.family, skeleton)
    tokens = shapes["prompt_embeds"][0]
    return _Run(
        config,
        NetworkSize.of(network),
        ZeroSettings.of(trained_network_config(config, config.training.learning_rate)),
        Batch(config.micro_batch_size, latent, shapes, dtype),
        encoding_visit(skeleton, tokens, dtype),
        decoding_visit(skeleton, latent, dtype),
    )


def _resident(run: _Run) -> list[Part]:
    zero, shard = run.zero, run.shard
    on_gpu = 0 if zero.offloaded else 1
    return [
        Part("compute weights of teacher, fake score and student", 3 * zero.compute * shard),
        Part("optimizer's weights of the two trained networks", on_gpu * 2 * zero.master * shard),
        Part("Adam's moments of the two", on_gpu * 2 * zero.moments * shard),
        Part("accumulated gradients of the two", on_gpu * 2 * zero.accumulate * shard),
        Part("moving average of the student", on_gpu * run.average),
        Part("reduction buckets of the two", 2 * zero.bucket()),
        Part("small parameters and buffers, whole, of all three", 3 * _whole(run)),
        Part("reserve for CUDA, NCCL and libraries (assumed)", RESERVE),
    ]


def _whole(run: _Run) -> int:
    return run.zero.persistent(run.network) + run.zero.compute * run.network.buffers


def _phases(run: _Run, fake: int, student: int) -> list[Account]:
    zero, network = run.zero, run.network
    moving = [
        Part("weights on their way", zero.in_flight(network)),
        Part("gradients being reduced", zero.reduction(network)),
    ]
    gathered = zero.gathered(network)
    both = run.config.training.shared_roll_out
    return [
        Account(
            "fake score's update",
            [
                Part("activations and gradients (measured)", fake),
                Part("gathered weights", gathered * (2 if both else 1)),
                *moving,
            ],
        ),
        Account(
            "student's update",
            [
                Part("activations and gradients of all three (measured)", student),
                Part("gathered weights of all three", 3 * gathered),
                *moving,
            ],
        ),
        Account(
            "optimizer's step",
            [Part("gradients and temporary copies", zero.step(network, run.processes))],
        ),
        _visit("text encoders", run.visit),
        _visit("autoencoder, first GPU", run.decoding),
    ]


def _visit(name: str, visit: Visit) -> Account:
    return Account(name, [Part("weights", visit.weights), Part("work", visit.work)])


def _node(run: _Run) -> Account:
    config, zero, shard = run.config, run.zero, run.shard
    element = run.batch.dtype.itemsize
    prompt = condition_bytes(run.batch.shapes, element)
    latent = 4 * torch.Size(run.batch.latent).numel()
    images = IMAGES_HELD if config.distillation.adversarial else 0
    offloaded = (
        2 * shard * (zero.optimizer + 2 * zero.accumulate) + run.average if zero.offloaded else 0
    )
    rank = Rank(
        processes=config.launch.processes_per_node,
        average=run.average,
        trained=2 * shard * _saved(zero),
        offloaded=offloaded,
        shared=run.visit.weights,
        autoencoder=run.decoding.weights,
        encodings=PROMPTS_HELD * prompt + images * (prompt + latent),
    )
    exported = run.network.total * (4 + (element if element != 4 else 0))
    return node_account(rank, exported)


def _storage(run: _Run) -> Account:
    trained = run.processes * run.shard * _saved(run.zero)
    return storage_account(
        [trained, trained],
        run.processes * run.average,
        run.config.checkpoint.keep_last + run.config.checkpoint.keep_best,
        run.network.total * run.batch.dtype.itemsize,
        run.visit.weights + run.decoding.weights,
    )


def _saved(zero: ZeroSettings) -> int:
    """Bytes a weight that a checkpoint holds of a trained network: weights and moments."""
    return zero.master + zero.moments


def _resolution(batch: Batch, config: RunConfig) -> str:
    side = config.data.resolution
    return f"{side} px" if side else f"{batch.latent[1]} x {batch.latent[2]} latents"
