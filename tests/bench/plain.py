"""What is measured against: the method without DeepSpeed and without the trainer.

:class:`PlainNetworks` stand in the place of :class:`sid_trainer.engine.networks.Networks` where
only the trainer's own part of an iteration is of interest. :class:`PlainLoop` is the whole method
over again, sharing with the trainer nothing but how a family's network is called.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from unittest import mock

import torch
from torch import Tensor, nn

from sid_trainer.method.conditions import Condition
from sid_trainer.teachers.base import Network, Teacher


def built(teacher: Teacher) -> nn.Module:
    """A network with random weights, on the teacher's device and in its type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(teacher.dtype)
    try:
        with teacher.device:
            return teacher.build_network()
    finally:
        torch.set_default_dtype(before)


class PlainNetwork:
    """A network whose update is a backward pass and nothing else.

    Args:
        module: the network.
        backward: whether there is even that.
    """

    def __init__(self, module: nn.Module, *, backward: bool) -> None:
        self.module = module
        self._backward = backward

    @property
    def training(self) -> Network:
        return self.module

    @contextmanager
    def frozen(self) -> Iterator[Network]:
        trained = [p for p in self.module.parameters() if p.requires_grad]
        for parameter in trained:
            parameter.requires_grad_(False)
        yield self.module
        for parameter in trained:
            parameter.requires_grad_(True)

    def accumulate(self, loss: Tensor) -> None:
        if self._backward:
            loss.backward()
            self.module.zero_grad()

    @property
    def gradient_norm(self) -> Tensor:
        return torch.zeros(())


class PlainNetworks:
    """Teacher, fake score and student as whole modules."""

    average = None

    def __init__(self, teacher: Teacher, *, checkpointing: bool, backward: bool = True) -> None:
        def network(*, trained: bool) -> PlainNetwork:
            module = built(teacher)
            if checkpointing:
                module.enable_gradient_checkpointing()  # type: ignore[operator]
            module.train().requires_grad_(trained)
            return PlainNetwork(module, backward=backward)

        self.teacher = network(trained=False)
        self.fake = network(trained=True)
        self.student = network(trained=True)

    def begin(self, iteration: int) -> None:
        """Nothing depends on the iteration."""

    def update_average(self) -> None:
        """There is none."""


class PlainLoop:
    """The method in one process, in as few lines of PyTorch as it takes.

    Networks in the teacher's type, fp32 weights beside them when that is another, torch's AdamW,
    an average, numbers of the global generator; nothing is checked, written or resumable.

    Args:
        teacher: how networks are built and called.
        condition: encoded prompts.
        empty: the encoded empty prompt, once.
        shape: of a latent.
        checkpointing: whether activations are recomputed.
    """

    STEPS, SCALE = 4, 4.5

    def __init__(
        self,
        teacher: Teacher,
        condition: Condition,
        empty: Condition,
        shape: Sequence[int],
        *,
        checkpointing: bool,
    ) -> None:
        self._adapter = teacher
        self._condition = condition
        self._both = Condition.cat([condition, empty.expand(len(condition))])
        self._size = (len(condition), *shape)
        networks = PlainNetworks(teacher, checkpointing=checkpointing)
        self._teacher, self._fake, self._student = (
            network.module for network in (networks.teacher, networks.fake, networks.student)
        )
        self._fake_adam, self._student_adam = _Adam(self._fake), _Adam(self._student)
        self._average = [weight.clone() for weight in self._student_adam.weights]

    def iterate(self, k: int) -> tuple[Tensor, Tensor]:
        """One update of each; the two losses.

        With torch's own ``linear``: DeepSpeed replaces it for the whole process.
        """
        with mock.patch.object(nn.functional, "linear", torch._C._nn.linear):
            return self._iterate(k)

    def _iterate(self, k: int) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            x0 = self._roll_out(k)
        x, noise, sigma = self._noised(x0)
        error = self._guided(self._fake, x, sigma) - (noise - x0)
        fake_loss = error.square().sum() / len(x)
        fake_loss.backward()
        self._fake_adam.step()

        self._fake.requires_grad_(False)
        x0 = self._roll_out(k)
        x, noise, sigma = self._noised(x0)
        f_fake = x - sigma * self._guided(self._fake, x, sigma)
        f_teacher = x - sigma * self._guided(self._teacher, x, sigma)
        loss = ((1 - sigma) * (f_teacher - f_fake) * (f_fake - x0)).sum() / len(x)
        (100 * loss).backward()
        self._student_adam.step()
        self._fake.requires_grad_(True)
        torch._foreach_lerp_(self._average, self._student_adam.weights, 0.01)
        return fake_loss.detach(), loss.detach()

    def _roll_out(self, k: int) -> Tensor:
        x = self._randn()
        for i in range(k):
            sigma = 1 - i / self.STEPS
            with torch.set_grad_enabled(torch.is_grad_enabled() and i == k - 1):
                level = torch.full((len(x),), sigma, device=x.device)
                clean = x - sigma * self._call(self._student, x, level, self._condition)
            if i == k - 1:
                return clean
            following = 1 - (i + 1) / self.STEPS
            x = (1 - following) * clean + following * self._randn()
        raise ValueError(f"a roll-out of {k} steps")

    def _noised(self, x0: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        normal = torch.randn(len(x0), 1, 1, 1, device=x0.device)
        sigma, noise = torch.sigmoid(math.log(2) + 1.6 * normal), self._randn()
        return (1 - sigma) * x0 + sigma * noise, noise, sigma

    def _guided(self, network: nn.Module, x: Tensor, sigma: Tensor) -> Tensor:
        if self._condition.has_guidance:
            condition = self._condition.with_guidance(self.SCALE)
            return self._call(network, x, sigma.flatten(), condition)
        twice = torch.cat([x, x]), torch.cat([sigma, sigma]).flatten()
        with_prompt, without = self._call(network, *twice, self._both).chunk(2)
        return without + self.SCALE * (with_prompt - without)

    def _call(self, network: nn.Module, x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        return self._adapter.velocity(network, x.to(self._adapter.dtype), sigma, condition).float()

    def _randn(self) -> Tensor:
        return torch.randn(self._size, device=self._adapter.device)


class _Adam:
    """AdamW on fp32 weights, from which the network's are made where they are of another type."""

    def __init__(self, network: nn.Module) -> None:
        self._parameters = list(network.parameters())
        self._alike = self._parameters[0].dtype == torch.float32
        self.weights = (
            [p.detach() for p in self._parameters]
            if self._alike
            else [p.detach().float() for p in self._parameters]
        )
        self._adam = torch.optim.AdamW(
            self._parameters if self._alike else self.weights,
            1e-6,
            betas=(0.0, 0.999),
            weight_decay=0.0,
            fused=self._parameters[0].is_cuda,
        )

    @torch.no_grad()
    def step(self) -> None:
        """Update, and drop the gradients."""
        if not self._alike:
            for weight, parameter in zip(self.weights, self._parameters, strict=True):
                weight.grad = None if parameter.grad is None else parameter.grad.float()
        self._adam.step()
        if not self._alike:
            torch._foreach_copy_(self._parameters, self.weights)
        for tensor in (*self._parameters, *self.weights):
            tensor.grad = None
