"""The three networks of a run under ZeRO-3: teacher, fake score and student.

Rules this module keeps (each one bites silently):

* A network that is about to have its own backward pass is called through its engine
  (:attr:`TrainedNetwork.training`): only that advances DeepSpeed's micro-step, without which
  accumulated micro-batches overwrite one another.
* In the student's update teacher and fake score are called as bare modules, with the fake
  score's gradients off (:meth:`TrainedNetwork.frozen`): stray gradients would enter its next
  update.
* After such use gathered parameters are released: ZeRO-3 keeps those of modules whose inputs
  need no gradient.
* Networks are built partitioned and filled from safetensors shard by shard; fp32 weights are
  read from the files, not from their bf16 copies.
* An update whose loss or gradient is not finite is skipped on every rank, see
  :mod:`sid_trainer.skipping`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import deepspeed
import torch
from torch import Tensor, nn

from sid_trainer import partition
from sid_trainer.config import RunConfig
from sid_trainer.deepspeed_config import teacher_config, trained_network_config
from sid_trainer.ema import MovingAverage, decay
from sid_trainer.failures import told_of
from sid_trainer.kernels import use_fused_norms
from sid_trainer.learning_rate import LearningRate
from sid_trainer.loading import fill_shards, load_shards
from sid_trainer.shards import ADAM_MOMENTS, TrainedShards
from sid_trainer.skipping import SkippedUpdates, exposed, tell_skipped
from sid_trainer.state import Json, RankState
from sid_trainer.teachers.base import Network, Teacher
from sid_trainer.weight_files import WeightFiles, persistent_buffers


class TrainedNetwork:
    """A network that is updated: an engine with its weights and Adam.

    Args:
        name: of the network, in states and messages.
        module: the network, partitioned, its weights loaded.
        config: DeepSpeed configuration.
        rate: learning rate of each iteration.

    Attributes:
        skipped: its updates that were left out.
        losses_are_finite: whether this rank's losses since :meth:`begin` are; a scalar, read only
            after an update was skipped.
    """

    def __init__(
        self, name: str, module: nn.Module, config: dict[str, Any], rate: LearningRate
    ) -> None:
        self.name = name
        self.skipped = SkippedUpdates()
        self.losses_are_finite = torch.tensor(True)
        self._rate = rate
        self._engine, *_ = deepspeed.initialize(
            model=module, model_parameters=list(module.parameters()), config=config
        )
        self.shards = TrainedShards(self._engine)

    def begin(self, iteration: int) -> None:
        """Set what depends on the iteration before which ``iteration`` were finished."""
        for group in self._engine.optimizer.param_groups:
            group["lr"] = self._rate.of(iteration)
        self.losses_are_finite = torch.ones((), dtype=torch.bool, device=self._engine.device)

    @property
    def module(self) -> nn.Module:
        """The bare network."""
        module: nn.Module = self._engine.module
        return module

    @property
    def training(self) -> Network:
        """The network for forwards that belong to its own update, roll-outs included."""
        engine: Network = self._engine
        return engine

    @contextmanager
    def frozen(self) -> Iterator[Network]:
        """The network for a forward through which gradient flows to the input only."""
        self.module.requires_grad_(False)
        try:
            yield self.module
        finally:
            self.module.requires_grad_(True)
            partition.release_leftovers(self._engine.optimizer)

    def accumulate(self, loss: Tensor) -> None:
        """Backward pass of a micro-batch; the last one of an iteration updates the weights.

        The update is skipped, on all ranks alike, when a loss or gradient of any is not finite.
        """
        last = self._engine.is_gradient_accumulation_boundary()
        self.losses_are_finite = self.losses_are_finite & torch.isfinite(loss.detach())
        self._engine.backward(exposed(loss))
        self._engine.step()
        if last:
            self.skipped.note(self._engine.was_step_applied())

    @property
    def gradient_norm(self) -> Tensor:
        """Norm of the last update's gradient over all ranks, before clipping, a scalar."""
        return torch.as_tensor(self._engine.get_global_grad_norm(), dtype=torch.float32)

    def capture(self) -> dict[str, Tensor]:
        """This rank's shards on the CPU, as :class:`RankState` names them."""
        parts = {"weight": self.shards.weights, **self.shards.moments}
        return {
            f"{self.name}/{part}/{parameter}": _snapshot(shard)
            for part, shards in parts.items()
            for parameter, shard in shards.items()
        }

    def restore(self, tensors: dict[str, Tensor], steps: int) -> None:
        """Go on from :meth:`capture` after ``steps`` optimizer steps."""
        moments = {moment: _part(tensors, f"{self.name}/{moment}/") for moment in ADAM_MOMENTS}
        self.shards.restore(_part(tensors, f"{self.name}/weight/"), moments, steps)


class FrozenNetwork:
    """The teacher: partitioned like the others, never updated."""

    def __init__(self, module: nn.Module, config: dict[str, Any]) -> None:
        module.requires_grad_(False)
        self._engine, *_ = deepspeed.initialize(model=module, config=config)

    @contextmanager
    def frozen(self) -> Iterator[Network]:
        """The network for a forward through which gradient flows to the input only."""
        try:
            yield self._engine.module
        finally:
            partition.release_leftovers(self._engine.optimizer)


@dataclass(frozen=True)
class Networks:
    """Teacher, fake score and student, and the student's moving average.

    Attributes:
        average: None when ``training.ema.halfLifeImages`` is 0.
        max_skipped_updates: of one network in a row.
    """

    teacher: FrozenNetwork
    fake: TrainedNetwork
    student: TrainedNetwork
    average: MovingAverage | None
    max_skipped_updates: int = 0

    @property
    def skipped_updates(self) -> int:
        """Updates of either network that were left out in the whole run."""
        return self.student.skipped.total + self.fake.skipped.total

    def begin(self, iteration: int) -> None:
        """Set what depends on the iteration before which ``iteration`` were finished."""
        self.student.begin(iteration)
        self.fake.begin(iteration)

    def tell_skipped(self, iteration: int) -> None:
        """Log which updates of an iteration were skipped; ``iteration`` counts it as finished.

        Raises:
            TrainerError: ``NumericalError`` on every rank when they are too many in a row.
        """
        for network in (self.fake, self.student):
            if network.skipped.in_a_row:
                finite = bool(network.losses_are_finite)
                most = self.max_skipped_updates
                tell_skipped(iteration, network.name, network.skipped, most, finite)

    def update_average(self) -> None:
        """Move the average towards the student; once an iteration, after its update."""
        if self.average is not None:
            self.average.update(self.student.shards.weights)

    @contextmanager
    def averaged_student(self) -> Iterator[Network]:
        """The student with its averaged weights, for sampling; a collective."""
        shards = self.student.shards
        if self.average is None:
            yield self.student.module
            return
        shards.show(self.average.shards)
        try:
            yield self.student.module
        finally:
            shards.publish()

    def student_state_dict(
        self, *, ema: bool = True, dtype: torch.dtype = torch.float32
    ) -> dict[str, Tensor] | None:
        """The student's state dict in rank 0's host memory, held once; a collective.

        Args:
            ema: the averaged weights where there is an average.
            dtype: of the parameters.

        Returns:
            Parameters and buffers by diffusers' names on rank 0, None on the others.
        """
        shards = self.student.shards
        source = self.average.shards if ema and self.average is not None else shards.weights
        whole = shards.gather(source, torch.distributed.get_rank(), dtype)
        if whole is None:
            return None
        buffers = persistent_buffers(self.student.module)
        return whole | {name: buffer.detach().cpu() for name, buffer in buffers}

    def capture(self) -> RankState:
        """This rank's state, without ``iteration`` and ``seed``, which the loop adds."""
        tensors = self.student.capture() | self.fake.capture()
        if self.average is not None:
            tensors |= {f"ema/weight/{k}": _snapshot(v) for k, v in self.average.shards.items()}
        numel: dict[str, Json] = {
            name: parameter.ds_numel
            for name, parameter in partition.parameters(self.student.module)
        }
        meta: dict[str, Json] = {
            "rank": torch.distributed.get_rank(),
            "worldSize": torch.distributed.get_world_size(),
            "steps": {"student": self.student.shards.steps, "fake": self.fake.shards.steps},
            "skipped": {"student": self.student.skipped.total, "fake": self.fake.skipped.total},
            "numel": numel,
        }
        return RankState(tensors, meta)

    def restore(self, state: RankState) -> None:
        """Go on exactly from :meth:`capture` of the same rank; a collective."""
        steps = _counts(state.meta, "steps")
        # A state from before updates were skipped has no such count.
        skipped = _counts({"skipped": {}} | state.meta, "skipped")
        for network in (self.student, self.fake):
            network.restore(state.tensors, steps[network.name])
            network.skipped = SkippedUpdates(skipped.get(network.name, 0))
        if self.average is not None:
            self.average.restore(_part(state.tensors, "ema/weight/"))


def build_networks(config: RunConfig, teacher: Teacher, student_from: Path) -> Networks:
    """Build, partition and load the three networks; a collective.

    Args:
        config: the run.
        teacher: its adapter.
        student_from: pipeline whose network the student starts from.
    """
    training = config.training
    with told_of("teacher.model"):
        module = _loaded_module(config, teacher, teacher.directory, teacher_config(config))
    frozen = FrozenNetwork(module, teacher_config(config))
    fake_rate = training.fake_learning_rate or training.learning_rate
    fake = _trained("fake", config, teacher, teacher.directory, fake_rate)
    with told_of("student.initFrom"):
        student = _trained("student", config, teacher, student_from, training.learning_rate)
    half_life = training.ema.half_life_images
    average = (
        MovingAverage(student.shards.weights, decay(training.batch_size, half_life))
        if half_life
        else None
    )
    return Networks(frozen, fake, student, average, training.max_skipped_updates)


def _trained(
    name: str, config: RunConfig, teacher: Teacher, directory: Path, learning_rate: float
) -> TrainedNetwork:
    engine_config = trained_network_config(config, learning_rate)
    rate = LearningRate(learning_rate, config.training.warmup_iterations)
    network = TrainedNetwork(
        name, _loaded_module(config, teacher, directory, engine_config), engine_config, rate
    )
    with WeightFiles(directory / teacher.network_folder) as files:
        rank = torch.distributed.get_rank()
        fill_shards(teacher.weights(files), network.module, network.shards.weights, rank)
    network.shards.publish()
    return network


def _loaded_module(
    config: RunConfig, teacher: Teacher, directory: Path, engine_config: dict[str, Any]
) -> nn.Module:
    with partition.partitioned(engine_config):
        module = teacher.build_network()
    use_fused_norms(module)
    with WeightFiles(directory / teacher.network_folder) as files:
        load_shards(teacher.weights(files), module, torch.distributed.get_rank())
    if config.training.gradient_checkpointing:
        module.enable_gradient_checkpointing()  # type: ignore[operator]
    return module.train()


def _counts(meta: dict[str, Json], name: str) -> dict[str, int]:
    counts = meta[name]
    if not isinstance(counts, dict):
        raise TypeError(f"meta.{name} of the rank state is {counts!r}, not an object")
    return {network: int(str(count)) for network, count in counts.items()}


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def _snapshot(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True)
