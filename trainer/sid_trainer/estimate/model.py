"""A run's need of memory, put together from its parts. Nothing is loaded or trained for it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

from sid_trainer.config import RunConfig
from sid_trainer.estimate.activations import Batch, measured_updates, network_size, teacher_of
from sid_trainer.estimate.conditions import condition_numbers
from sid_trainer.estimate.report import Estimate
from sid_trainer.estimate.skeleton import Skeleton
from sid_trainer.estimate.visitors import decoding_visit, encoding_visit
from sid_trainer.memory.accounts import Account
from sid_trainer.memory.host import HostSizes, disk_account, node_need, storage_account
from sid_trainer.memory.need import Sizes, Visit, average_bytes, gpu_need, zero_settings
from sid_trainer.memory.sharding import NetworkSize, ZeroSettings
from sid_trainer.precision import exported_dtype


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
        return average_bytes(self.config, self.network)


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
    sizes = Sizes(run.network, updates["fake"], updates["student"], run.visit, run.decoding)
    need = gpu_need(config, sizes)
    on = "GPUs" if config.launch.device == "cuda" else "processes on the CPU"
    title = (
        f"{config.teacher.model}, {_resolution(run.batch, config)}, "
        f"{config.launch.nodes} x {config.launch.processes_per_node} {on}, "
        f"{config.micro_batch_size} of {config.training.batch_size} images at a time, "
        f"{config.training.precision}"
    )
    return Estimate(
        title=title,
        device=config.launch.device,
        parameters=run.network.total,
        resident=need.resident,
        phases=need.phases,
        node=_node(run),
        disk=_disk(run),
        storage=_storage(run),
    )


def _prepared(config: RunConfig, skeleton: Skeleton) -> _Run:
    dtype = torch.float32 if config.training.precision == "fp32" else torch.bfloat16
    with tempfile.TemporaryDirectory(prefix="sid-estimate-") as folder:
        teacher = teacher_of(skeleton, config, dtype, Path(folder))
        latent = teacher.latent_shape(teacher.resolution(config.data.resolution))
        network, shapes = teacher.meta_network(), teacher.condition_shapes()
    tokens = shapes["prompt_embeds"][0]
    size = network_size(network)
    return _Run(
        config,
        size,
        zero_settings(config, size),
        Batch(config.micro_batch_size, latent, shapes, dtype),
        encoding_visit(skeleton, tokens, dtype),
        decoding_visit(skeleton, latent, dtype),
    )


def _node(run: _Run) -> Account:
    sizes = HostSizes(
        network=run.network,
        encoders=run.visit.weights,
        autoencoder=run.decoding.weights,
        prompt=condition_numbers(run.batch.shapes),
        latent=torch.Size(run.batch.latent).numel(),
    )
    return node_need(run.config, sizes)


def _disk(run: _Run) -> Account:
    network = run.network.total * run.batch.dtype.itemsize
    others = run.visit.weights + run.decoding.weights
    downloaded = not run.config.teacher.model.startswith("/")
    first = run.config.student.init_from
    return disk_account(
        network + others if downloaded else 0,
        network if first and not first.startswith("/") else 0,
        run.visit.weights,
        _exported(run),
    )


def _exported(run: _Run) -> int:
    """Bytes of the exported network."""
    return run.network.total * exported_dtype(run.config).itemsize


def _storage(run: _Run) -> Account:
    trained = run.processes * run.shard * run.zero.optimizer
    return storage_account(
        [trained, trained],
        run.processes * run.average,
        run.config.checkpoint.keep_last + run.config.checkpoint.keep_best,
        _exported(run),
        run.visit.weights + run.decoding.weights,
    )


def _resolution(batch: Batch, config: RunConfig) -> str:
    side = config.data.resolution
    return f"{side} px" if side else f"{batch.latent[1]} x {batch.latent[2]} latents"
