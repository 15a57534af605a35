"""The three networks of a run under ZeRO-3: teacher, fake score and student.

How each of them is called and updated is in :mod:`sid_trainer.engine.trained_network`.

Rules this module keeps (each one bites silently):

* Blocks are marked before an engine is made, which hangs its hooks on what it finds then; they are
  compiled inside of these.
* Networks are built partitioned and filled from safetensors shard by shard; fp32 weights are
  read from the files, not from their bf16 copies.
* The averaged student is shown in the student's own parameters, and taken back; not after an error,
  which ends the run: taking it back is a collective.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sid_trainer.checkpoint.state import Json, RankState, below, snapshot
from sid_trainer.config import RunConfig
from sid_trainer.engine import partition
from sid_trainer.engine.blocks import compile_each
from sid_trainer.engine.deepspeed_config import teacher_config, trained_network_config
from sid_trainer.engine.kernels import use_fused_norms
from sid_trainer.engine.loading import fill_shards, load_shards
from sid_trainer.engine.skipping import SkippedUpdates, tell_skipped
from sid_trainer.engine.trained_network import FrozenNetwork, TrainedNetwork
from sid_trainer.method.adversarial import student_begins
from sid_trainer.method.ema import MovingAverage, decay
from sid_trainer.method.learning_rate import LearningRate
from sid_trainer.models.weight_files import WeightFiles, persistent_buffers
from sid_trainer.process.failures import naming
from sid_trainer.teachers.base import Network, Teacher
from sid_trainer.teachers.first_student import require_same_architecture


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
    def parameters(self) -> int:
        """Numbers that one network consists of."""
        found = partition.parameters(self.student.module)
        return sum(int(parameter.ds_numel) for _, parameter in found)

    @property
    def skipped_updates(self) -> int:
        """Updates of either network that were left out in the whole run."""
        return self.student.skipped.total + self.fake.skipped.total

    @property
    def skipped_in_a_row(self) -> int:
        """Updates of either network that were left out just now, one after the other."""
        return max(self.student.skipped.in_a_row, self.fake.skipped.in_a_row)

    def begin(self, iteration: int) -> None:
        """Set what depends on the iteration before which ``iteration`` were finished."""
        self.student.begin(iteration)
        self.fake.begin(iteration)

    def tell_skipped(self, iteration: int) -> None:
        """Log which updates of an iteration were skipped; ``iteration`` counts it as finished.

        Raises:
            SharedError: ``NumericalError`` on every rank when they are too many in a row.
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
        yield self.student.module
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
        whole = shards.gather(source, dtype)
        if whole is None:
            return None
        buffers = persistent_buffers(self.student.module)
        return whole | {name: buffer.detach().cpu() for name, buffer in buffers}

    def capture(self) -> RankState:
        """This rank's state, without ``iteration`` and ``seed``, which the loop adds."""
        tensors = self.student.capture() | self.fake.capture()
        if self.average is not None:
            tensors |= {f"ema/weight/{k}": snapshot(v) for k, v in self.average.shards.items()}
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
        steps = state.counts("steps")
        # A state from before updates were skipped has no such count.
        skipped = state.counts("skipped") if "skipped" in state.meta else {}
        for network in (self.student, self.fake):
            network.restore(state.tensors, steps[network.name])
            network.skipped = SkippedUpdates(skipped.get(network.name, 0))
        if self.average is not None:
            self.average.restore(below(state.tensors, "ema/weight/"))


def build_networks(config: RunConfig, teacher: Teacher, student_from: Path) -> Networks:
    """Build, partition and load the three networks; a collective.

    Args:
        config: the run.
        teacher: its adapter.
        student_from: pipeline whose network the student starts from.

    Raises:
        TrainerError: naming the model that does not fit; before anything is loaded where the
            settings of its network tell it.
    """
    training = config.training
    if student_from != teacher.directory:
        with naming(f"student.initFrom {config.student.init_from}"):
            require_same_architecture(teacher, student_from, config.teacher.model)
    with naming("teacher.model"):
        module = _loaded_module(config, teacher, teacher.directory, teacher_config(config))
    frozen = FrozenNetwork(module, teacher_config(config))
    warmup = training.warmup_iterations
    fake_rate = LearningRate(training.fake_rate, warmup)
    fake = _trained("fake", config, teacher, teacher.directory, fake_rate)
    begins = student_begins(config.distillation.adversarial, training.batch_size)
    rate = LearningRate(training.student_rate, warmup, begins)
    with naming("student.initFrom"):
        student = _trained("student", config, teacher, student_from, rate)
    half_life = training.ema.half_life_images
    average = (
        MovingAverage(student.shards.weights, decay(training.batch_size, half_life))
        if half_life
        else None
    )
    return Networks(frozen, fake, student, average, training.max_skipped_updates)


def _trained(
    name: str, config: RunConfig, teacher: Teacher, directory: Path, rate: LearningRate
) -> TrainedNetwork:
    engine_config = trained_network_config(config, rate.value)
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
    partition.require_plain_shards(module, teacher.device, teacher.dtype)
    use_fused_norms(module)
    partition.gather_whole(module)
    with WeightFiles(directory / teacher.network_folder) as files:
        load_shards(teacher.weights(files), module, torch.distributed.get_rank())
        if directory != teacher.directory:
            files.refuse_others()
    if config.training.compile:
        compile_each(module)
    if config.training.gradient_checkpointing:
        module.enable_gradient_checkpointing()  # type: ignore[operator]
    return module.train()
