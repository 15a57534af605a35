"""The gradient of the student's objective, against finite differences in fp64.

A detached tensor anywhere on the way (the noisy latent, either score network's estimate, the
sample itself) leaves the loss as it is and its gradient off by far more than the tolerance.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from sid_trainer.config import DistillationConfig, StudentConfig
from sid_trainer.method.conditions import Condition
from sid_trainer.method.flow import training_noise_level
from sid_trainer.method.objective import Draws, PromptPair, fake_objective, student_objective
from sid_trainer.method.sampler import roll_out

BATCH, PIXELS = 4, 6
CONFIGS: list[dict[str, Any]] = [
    {"guidance": {"strategy": "LSG", "scale": 1.0}},
    {"guidance": {"strategy": "LSG", "scale": 4.5}, "alpha": 1.2},
    {"guidance": {"strategy": "ZeroCFG"}, "weighting": "snr"},
    {"guidance": {"strategy": "AntiCFG", "scale": 0.7}, "alpha": 0.5},
]


class TinyScore:
    """A smooth velocity of latent, noise level and prompt, in fp64."""

    def __init__(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.weight = torch.randn(PIXELS, PIXELS, generator=generator, dtype=torch.float64) / 3
        self.bend = torch.randn(PIXELS, generator=generator, dtype=torch.float64)

    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        flat = x.flatten(1) @ self.weight + sigma[:, None] * self.bend
        return torch.tanh(flat + condition.tensors["text"]).reshape(x.shape) + 0.3 * x


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def prompts() -> PromptPair:
    return PromptPair(
        Condition({"text": normal(1, BATCH, 1)}), Condition({"text": normal(2, 1, 1)})
    )


def draws(seed: int) -> Draws:
    sigma = training_noise_level(normal(seed + 1, BATCH))
    return Draws(normal(seed, BATCH, 1, 1, PIXELS), sigma)


def central_difference(loss: Callable[[Tensor], Tensor], at: Tensor, direction: Tensor) -> float:
    """Fourth-order central difference along a direction."""
    step = 1e-3
    with torch.no_grad():
        f = {n: float(loss(at + n * step * direction)) for n in (-2, -1, 1, 2)}
    return (8 * (f[1] - f[-1]) - (f[2] - f[-2])) / (12 * step)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("stop_after", [1, 3])
def test_student_gradient(config: dict[str, Any], stop_after: int) -> None:
    """Through the last step of the roll-out, both score networks and their inputs."""
    distillation = DistillationConfig.model_validate(config)
    student, fake, teacher = TinyScore(3), TinyScore(4), TinyScore(5)
    start = student.weight.clone()
    text = prompts()

    def noise(step: int) -> Tensor:
        return normal(20 + step, BATCH, 1, 1, PIXELS)

    # Earlier steps of the roll-out carry no gradient: they keep the starting weight.
    def loss(weight: Tensor) -> Tensor:
        calls = iter(range(stop_after))

        def velocity(x: Tensor, sigma: Tensor) -> Tensor:
            student.weight = weight if next(calls) == stop_after - 1 else start
            return student(x, sigma, text.condition)

        x0 = roll_out(velocity, noise, StudentConfig(steps=4), stop_after)
        return student_objective(x0, draws(30), text, fake, teacher, distillation)

    weight = start.clone().requires_grad_()
    direction = normal(40, PIXELS, PIXELS)
    (gradient,) = torch.autograd.grad(loss(weight), weight)
    analytic = float((gradient * direction).sum())
    assert analytic == pytest.approx(central_difference(loss, start, direction), rel=1e-7)


def test_sid_weighting_carries_no_gradient() -> None:
    distillation = DistillationConfig.model_validate(
        {"weighting": "sid", "guidance": {"scale": 1.0}}
    )
    fake, teacher, text = TinyScore(4), TinyScore(5), prompts()
    drawn = draws(30)
    x0 = normal(50, BATCH, 1, 1, PIXELS).requires_grad_()
    loss = student_objective(x0, drawn, text, fake, teacher, distillation)
    (gradient,) = torch.autograd.grad(loss, x0)

    x = (1 - drawn.sigma.reshape(-1, 1, 1, 1)) * x0 + drawn.sigma.reshape(-1, 1, 1, 1) * drawn.noise
    level = drawn.sigma.reshape(-1, 1, 1, 1)
    f_t = x - level * teacher(x, drawn.sigma, text.condition)
    f_f = x - level * fake(x, drawn.sigma, text.condition)
    constant = 1 / (x0 - f_t).detach().abs().mean((1, 2, 3), keepdim=True)
    expected = (constant * (f_t - f_f) * (f_f - x0)).sum() / BATCH
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, x0)[0])


@pytest.mark.parametrize("config", CONFIGS)
def test_fake_gradient(config: dict[str, Any]) -> None:
    """The fake score's own; none reaches the student's samples."""
    distillation = DistillationConfig.model_validate(config)
    fake, text = TinyScore(4), prompts()
    start, direction = fake.weight.clone(), normal(41, PIXELS, PIXELS)
    x0 = normal(50, BATCH, 1, 1, PIXELS).requires_grad_()

    def loss(weight: Tensor) -> Tensor:
        fake.weight = weight
        return fake_objective(x0, draws(30), text, fake, distillation)

    weight = start.clone().requires_grad_()
    gradient, to_samples = torch.autograd.grad(loss(weight), [weight, x0], allow_unused=True)
    analytic = float((gradient * direction).sum())
    assert analytic == pytest.approx(central_difference(loss, start, direction), rel=1e-7)
    assert to_samples is None
