"""Operations of one iteration, counted by torch, against the floor of the method.

The floor for K steps and c forwards a guided prediction (2 with classifier-free guidance, 1 where
the scale is an input). F is a forward of one network for the batch, B a backward pass to its
weights, D one to its input only:

    roll-out for the fake update         (K + 1) / 2 F      none if the roll-out is shared
    fake score's update                  c (F + B)
    roll-out for the student update      (K + 1) / 2 F
    teacher and fake score in its loss   2 c (F + D)
    student's backward                   B
    recomputed activations               (3 c + 1) F        with gradient checkpointing

With B = 2 F and D = F that is 21 F for K = 4 and c = 2, 18.5 F with a shared roll-out. The two are
rules of thumb: attention has no weights, so its backward pass costs twice its forward also where
only the input wants a gradient (D > F by attention's share), while text and time embedders, whose
inputs want none, have less to do. Therefore F, B and D are counted of one network by itself, too:
of these nothing can be left out, and what an iteration has beyond them is waste.

Tensors are fake ones, without memory: widths and token counts are the released models', on any
machine. Attention is counted as its matrix products: kernels that recompute scores in the backward
pass do more, whatever program calls them. Work is linear in k, so the mean over k = 1..K is that
of its ends.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from sid_trainer.config import DistillationConfig, StudentConfig, TrainingConfig
from sid_trainer.engine import iteration as iteration_module
from sid_trainer.engine.iteration import Distiller, IterationResult, MicroBatch
from tests.bench.plain import PlainNetworks, built
from tests.bench.report import Section
from tests.bench.shapes import Shape, released

CPU = torch.device("cpu")
SEED = 0


@dataclass(frozen=True)
class Passes:
    """FLOPs of one network's passes, and from them those of an iteration.

    Attributes:
        forward: F.
        backward: B.
        to_input: D.
    """

    forward: float
    backward: float
    to_input: float

    def floor(self, steps: int, guided: int, *, checkpointing: bool, shared: bool = False) -> float:
        """FLOPs of one iteration at least; see the module.

        Args:
            steps: of the student, K.
            guided: forwards of a guided prediction, c.
            checkpointing: whether activations are recomputed.
            shared: whether one roll-out serves both updates.
        """
        roll_outs = (1 if shared else 2) * (steps + 1) / 2
        recomputed = 3 * guided + 1 if checkpointing else 0
        forwards = roll_outs + 3 * guided + recomputed
        return forwards * self.forward + (guided + 1) * self.backward + 2 * guided * self.to_input


RULE_OF_THUMB = Passes(forward=1, backward=2, to_input=1)


@dataclass(frozen=True)
class Count:
    """FLOPs of an iteration, the mean over k.

    Attributes:
        shape: the network.
        passes: of one network.
        iteration: what the trainer did.
        rule: the floor in F by the rule of thumb.
        floor: the floor in FLOPs by the passes.
    """

    shape: Shape
    passes: Passes
    iteration: float
    rule: float
    floor: float

    @property
    def forwards(self) -> float:
        """The iteration in F."""
        return self.iteration / self.passes.forward

    @property
    def ratio(self) -> float:
        """Counted over floor: 1 is the floor."""
        return self.iteration / self.floor


def count(shape: Shape, training: TrainingConfig, student: StudentConfig | None = None) -> Count:
    """Count an iteration of the trainer's own :class:`Distiller`, guided by LSG.

    Args:
        shape: the network.
        training: batch size, gradient checkpointing, shared roll-out.
        student: steps and noise.
    """
    student = student or StudentConfig()
    with tempfile.TemporaryDirectory() as folder, FakeTensorMode(), sdpa_kernel(SDPBackend.MATH):
        run = FakeRun(shape, Path(folder), CPU, student, training)
        passes = run.passes()
        ends = [counted(partial(run.iterate, k)) for k in (1, student.steps)]
    rule, least = (
        passes.floor(
            student.steps,
            shape.guided_forwards,
            checkpointing=training.gradient_checkpointing,
            shared=training.shared_roll_out,
        )
        for passes in (RULE_OF_THUMB, passes)
    )
    return Count(shape, passes, sum(ends) / 2, rule, least)


def counted(work: Callable[[], object]) -> int:
    """FLOPs of ``work`` by torch's own counter."""
    mapping = {torch.ops.aten.convolution_backward: _convolution_backward}
    with FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        work()
    total: int = counter.get_total_flops()
    return total


def _convolution_backward(
    gradient: torch.Size, x: torch.Size, weight: torch.Size, *rest: Any, out_shape: Any
) -> int:
    """As much as the forward for each gradient that is wanted.

    torch's own formula takes no account of groups and counts a depthwise convolution (SANA has
    them) as a full one (torch 2.15).
    """
    *_, (for_input, for_weight, _bias) = rest
    return 2 * gradient.numel() * math.prod(weight[1:]) * (for_input + for_weight)


class FakeRun:
    """Iterations on fake tensors; made and used inside a ``FakeTensorMode``.

    Args:
        shape: of the networks.
        folder: an empty one, for the teacher.
        device: on which the tensors seem to be.
        student: steps and noise.
        training: batch size, gradient checkpointing, shared roll-out.
        backward: whether updates have their backward pass.
    """

    def __init__(
        self,
        shape: Shape,
        folder: Path,
        device: torch.device,
        student: StudentConfig,
        training: TrainingConfig,
        *,
        backward: bool = True,
    ) -> None:
        self._teacher = shape.open(shape.write(folder), device, torch.float32)
        self._shape = shape
        self._batch = training.batch_size
        networks: Any = PlainNetworks(
            self._teacher, checkpointing=training.gradient_checkpointing, backward=backward
        )
        self._distiller = Distiller(
            self._teacher,
            networks,
            student,
            DistillationConfig(),
            training,
            self._teacher.latent_shape(shape.resolution),
            shape.encoded(1, device, torch.float32),
        )
        self._condition = shape.encoded(self._batch, device, torch.float32)

    def iterate(self, steps: int) -> IterationResult:
        """One iteration with roll-outs of ``steps``."""
        micro = MicroBatch(range(self._batch), self._condition)
        with mock.patch.object(iteration_module, "uniform_steps", return_value=steps):
            return self._distiller.iterate(0, [micro])

    def passes(self) -> Passes:
        """FLOPs of a network's passes by itself, activations kept."""
        forward, backward = self._pass(weights=True)
        _, to_input = self._pass(weights=False)
        return Passes(forward, backward, to_input)

    def _pass(self, *, weights: bool) -> tuple[int, int]:
        teacher = self._teacher
        network = built(teacher).requires_grad_(weights)
        x = torch.randn(
            (self._batch, *self._distiller.latent_shape),
            device=teacher.device,
            requires_grad=not weights,
        )
        sigma = torch.rand(self._batch, device=teacher.device)
        out: list[Tensor] = []
        forward = counted(lambda: out.append(teacher.velocity(network, x, sigma, self._condition)))
        return forward, counted(lambda: out[0].sum().backward())


def section(depth: int) -> Section:
    """Count an iteration of each released model, cut to ``depth`` layers of each kind."""
    rows = []
    for shape in released(depth):
        for checkpointing, shared in ((False, False), (True, False), (False, True)):
            training = TrainingConfig(
                batch_size=1, gradient_checkpointing=checkpointing, shared_roll_out=shared
            )
            rows.append(_row(count(shape, training), training))
    return Section(
        "Operations of an iteration",
        "FLOPs of the trainer's iteration by torch's counter, the mean over k = 1..4, with the "
        f"released models' widths and tokens at {depth} layer(s) of each kind. F is one forward, B "
        "a backward pass, D one to the input only, each counted of a network by itself. The rule "
        "takes B = 2 F and D = F; the floor takes them as counted. 1 is the floor.",
        ("network", "B / F", "D / F", "counted / F", "rule / F", "counted / floor"),
        rows,
        (
            "D is above F by attention, which has no weights: its backward pass is twice its "
            "forward even where only the input wants a gradient. Text and time embedders, whose "
            "inputs want none, bring D and B down, more so in networks cut short.\n\n"
            "With checkpointing the floor recomputes whole forwards, the trainer only the layers: "
            "hence slightly less than 1.",
        ),
    )


def _row(found: Count, training: TrainingConfig) -> tuple[str, ...]:
    options = ", checkpointed" if training.gradient_checkpointing else ""
    options += ", shared roll-out" if training.shared_roll_out else ""
    passes = found.passes
    return (
        found.shape.name + options,
        f"{passes.backward / passes.forward:.3f}",
        f"{passes.to_input / passes.forward:.3f}",
        f"{found.forwards:.2f}",
        f"{found.rule:.1f}",
        f"{found.ratio:.4f}",
    )
