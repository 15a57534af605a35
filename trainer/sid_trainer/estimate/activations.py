"""What the two updates of an iteration take besides weights: measured, on ``meta``.

The trainer's own objectives run on the stock network classes at their real width and resolution,
forward and backward, with tensors that have a shape and no memory; every byte that autograd keeps
and every temporary one is counted (:mod:`sid_trainer.estimate.live`).

Rules this module keeps:

* One student step is rolled out, as only the last carries gradient and earlier ones take less: so
  the number of steps does not matter.
* A gradient of a weight lives only until ZeRO-3 has moved it into its bucket, which is counted
  with the optimizer's memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from sid_trainer.config import RunConfig
from sid_trainer.engine.blocks import largest_gather
from sid_trainer.estimate.conditions import blank_condition
from sid_trainer.estimate.depth import at_full_depth
from sid_trainer.estimate.kernels import training_kernels
from sid_trainer.estimate.live import LiveBytes
from sid_trainer.estimate.skeleton import Skeleton
from sid_trainer.memory.sharding import NetworkSize
from sid_trainer.method.adversarial import Discriminator, RealSamples
from sid_trainer.method.conditions import Condition, Shapes
from sid_trainer.method.guidance import Velocity
from sid_trainer.method.objective import Draws, PromptPair, fake_objective, student_objective
from sid_trainer.method.sampler import roll_out
from sid_trainer.teachers import Teacher, open_teacher

META = torch.device("meta")


@dataclass(frozen=True)
class Batch:
    """What one process computes at a time.

    Attributes:
        size: samples.
        latent: ``(C, H, W)``.
        shapes: of one prompt's condition.
        dtype: that networks compute in.
    """

    size: int
    latent: tuple[int, int, int]
    shapes: Shapes
    dtype: torch.dtype

    def normal(self) -> Tensor:
        """Noise ``[B, C, H, W]``."""
        return torch.empty(self.size, *self.latent, device=META)

    def draws(self) -> Draws:
        """How the batch is noised."""
        return Draws(self.normal(), torch.empty(self.size, device=META))

    def prompts(self) -> PromptPair:
        """The batch's prompts and the empty one."""
        return PromptPair(
            blank_condition(self.shapes, self.size, self.dtype),
            blank_condition(self.shapes, 1, self.dtype),
        )


def teacher_of(skeleton: Skeleton, config: RunConfig, dtype: torch.dtype, folder: Path) -> Teacher:
    """The family's adapter over a pipeline without weights, written into a folder."""
    skeleton.write(folder)
    return open_teacher(config.teacher, folder, META, dtype)


def network_size(module: nn.Module) -> NetworkSize:
    """Size of a module, on whatever device it is."""
    return NetworkSize(
        parameters=[p.numel() for p in module.parameters()],
        buffers=sum(buffer.numel() for buffer in module.buffers()),
        largest_module=largest_gather(module, nn.Parameter.numel),
    )


def measured_updates(skeleton: Skeleton, config: RunConfig, batch: Batch) -> Mapping[str, int]:
    """Most bytes that the fake score's and the student's update take: ``fake``, ``student``."""
    question = _question(skeleton, config, batch)
    if question not in _ANSWERS:
        cases = (Case("fake", config, batch), Case("student", config, batch))
        _ANSWERS[question] = measured_cases(skeleton, {case.update: case for case in cases})
    return _ANSWERS[question]


_ANSWERS: dict[str, Mapping[str, int]] = {}
"""What was measured already: a table has many runs that differ in other things only."""


def _question(skeleton: Skeleton, config: RunConfig, batch: Batch) -> str:
    """All that an answer depends on."""
    training = config.training
    return repr(
        (
            skeleton,
            batch,
            config.teacher.family,
            config.distillation,
            (training.gradient_checkpointing, training.shared_roll_out),
            config.accumulation_steps == 1,
        )
    )


@dataclass(frozen=True)
class Case:
    """A measurement.

    Attributes:
        update: ``fake`` or ``student``.
        config: the run.
        batch: what is computed at a time.
    """

    update: Literal["fake", "student"]
    config: RunConfig
    batch: Batch


def measured_cases(skeleton: Skeleton, cases: Mapping[str, Case]) -> dict[str, int]:
    """Most bytes that each update takes, measured with the same networks.

    Args:
        skeleton: the pipeline.
        cases: by any name; alike in compute type and gradient checkpointing.
    """
    first = next(iter(cases.values()))

    def measure(shallow: Skeleton) -> Mapping[str, int]:
        with tempfile.TemporaryDirectory(prefix="sid-estimate-") as folder:
            teacher = teacher_of(shallow, first.config, first.batch.dtype, Path(folder))
            updates = _Updates(teacher, first.config, first.batch)
            return {name: updates.of(case) for name, case in cases.items()}

    with training_kernels():
        return at_full_depth(skeleton, "transformer", measure)


class _Updates:
    """One micro-batch of both updates, with networks on ``meta``."""

    def __init__(self, teacher: Teacher, config: RunConfig, batch: Batch) -> None:
        self._adapter = teacher
        self._config = config
        self._batch = batch
        self._live = LiveBytes()
        self._student, self._fake, self._teacher = (self._network() for _ in range(3))
        self._teacher.requires_grad_(False)

    def of(self, case: Case) -> int:
        """Peak of a case, whose networks are these."""
        self._config, self._batch = case.config, case.batch
        self._live.reset()  # the case before may have ended with its graph alive
        return self.fake() if case.update == "fake" else self.student()

    def fake(self) -> int:
        """Peak of the fake score's update."""
        self._fake.requires_grad_(True)
        with self._live:
            prompts = self._batch.prompts()
            with torch.set_grad_enabled(self._config.graph_waits):
                x0 = self._sample(prompts.condition)
            self._fake_loss(x0, prompts).backward()  # type: ignore[no-untyped-call]
        return self._taken()

    def student(self) -> int:
        """Peak of the student's update."""
        self._fake.requires_grad_(False)
        with self._live:
            prompts = self._batch.prompts()
            x0 = self._sample(prompts.condition)
            self._student_loss(x0, prompts).backward()  # type: ignore[no-untyped-call]
        return self._taken()

    def _fake_loss(self, x0: Tensor, prompts: PromptPair) -> Tensor:
        draws, fake = self._batch.draws(), self._velocity(self._fake)
        if self._discriminator is None:
            return fake_objective(x0, draws, prompts, fake, self._config.distillation)
        real = RealSamples(self._batch.normal(), self._batch.prompts().condition)
        return self._discriminator.fake_objective(x0, draws, prompts, real, fake).total

    def _student_loss(self, x0: Tensor, prompts: PromptPair) -> Tensor:
        draws = self._batch.draws()
        scores = self._velocity(self._fake), self._velocity(self._teacher)
        if self._discriminator is None:
            return student_objective(x0, draws, prompts, *scores, self._config.distillation)
        return self._discriminator.student_objective(x0, draws, prompts, *scores).total

    @property
    def _discriminator(self) -> Discriminator | None:
        if self._config.distillation.adversarial is None:
            return None
        projection = self._adapter.output_projection
        return Discriminator(self._fake, projection, self._config.distillation)

    def _taken(self) -> int:
        """The peak since the last one."""
        peak = self._live.peak
        self._live.reset()
        return peak

    def _network(self) -> nn.Module:
        network = self._adapter.meta_network()
        # Not the class's own "to", which warns that a loader should have cast.
        nn.Module.to(network, self._batch.dtype)
        network.train()
        if self._config.training.gradient_checkpointing:
            network.enable_gradient_checkpointing()  # type: ignore[operator]
        for parameter in network.parameters():
            parameter.register_post_accumulate_grad_hook(_drop_gradient)  # type: ignore[no-untyped-call]
        self._live.ignore((*network.parameters(), *network.buffers()))
        return network

    def _sample(self, condition: Condition) -> Tensor:
        velocity = self._velocity(self._student)
        return roll_out(
            lambda x, sigma: velocity(x, sigma, condition),
            lambda _: self._batch.normal(),
            self._config.student,
            stop_after=1,
        )

    def _velocity(self, network: nn.Module) -> Velocity:
        return self._adapter.fp32_velocity(network)


def _drop_gradient(parameter: Tensor) -> None:
    parameter.grad = None
