"""The method where everything is known in closed form: data that is a Gaussian.

Teacher and ideal fake score of N(m, s²) are affine in the noisy latent:

    E[x0 | x] = m + A (x - c m),    A = c s² / (c² s² + σ²),    c = 1 - σ.

A generator a + b z is at the data when a = m and b = s. All losses are of second degree in the
normal numbers, so the two-point rule at ±1 gives their expectations exactly: a batch of all its
corners is the whole distribution.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from sid_trainer.config import DistillationConfig, StudentConfig
from sid_trainer.method.conditions import Condition
from sid_trainer.method.objective import Draws, PromptPair, fake_objective, student_objective
from sid_trainer.method.sampler import roll_out

Array = NDArray[np.float64]
MEAN, STD = 0.7, 0.6
LEVELS = np.linspace(0.05, 0.95, 10)
CORNERS = np.array([*itertools.product([-1.0, 1.0], repeat=2)])
Z, EPSILON, SIGMA = (
    np.tile(CORNERS[:, 0], len(LEVELS)),
    np.tile(CORNERS[:, 1], len(LEVELS)),
    np.repeat(LEVELS, len(CORNERS)),
)
WEIGHTS: dict[str, Callable[[Array], Array]] = {
    "one-minus-sigma": lambda s: 1 - s,
    "one-minus-sigma-squared": lambda s: (1 - s) ** 2,
    "inverse-sigma": lambda s: s**-1,
    "inverse-sigma-squared": lambda s: s**-2,
    "sqrt-snr": lambda s: (1 - s) / s,
    "snr": lambda s: (1 - s) ** 2 / s**2,
}
ALPHAS = [0.0, 0.5, 1.0, 1.2]
ELSEWHERE = [
    *((MEAN + shift, STD) for shift in (-1.0, -0.1, 0.1, 1.0)),
    *((MEAN, STD * factor) for factor in (0.25, 0.9, 1.1, 1.5)),
    *((MEAN + shift, STD * factor) for shift in (-0.5, 0.5) for factor in (0.5, 1.4)),
]


def column(values: Array) -> Tensor:
    return torch.from_numpy(values).reshape(-1, 1, 1, 1)


def nothing(batch: int) -> PromptPair:
    text = torch.zeros(batch, 1, dtype=torch.float64)
    return PromptPair(Condition({"text": text}), Condition({"text": text[:1]}))


class Ideal:
    """The velocity of which no better exists for data N(mean, std²)."""

    def __init__(self, mean: float, std: float) -> None:
        self.mean, self.variance = mean, std**2

    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        s = sigma.reshape(-1, 1, 1, 1)
        c = 1 - s
        gain = c * self.variance / (c**2 * self.variance + s**2)
        return (x - (self.mean + gain * (x - c * self.mean))) / s


def gradient(mean: float, std: float, options: dict[str, Any]) -> Array:
    """Expected gradient of the student's loss by (a, b), with the ideal fake score, ``[2]``."""
    config = DistillationConfig.model_validate({"guidance": {"scale": 1.0}} | options)
    place = torch.tensor([mean, std], dtype=torch.float64, requires_grad=True)
    x0 = place[0] + place[1] * column(Z)
    draws = Draws(column(EPSILON), torch.from_numpy(SIGMA))
    fake, teacher = Ideal(mean, std), Ideal(MEAN, STD)
    loss = student_objective(x0, draws, nothing(len(x0)), fake, teacher, config)
    (found,) = torch.autograd.grad(loss, place)
    return found.numpy()


def closed_form(mean: float, std: float, alpha: float, weight: Callable[[Array], Array]) -> Array:
    """The same by hand: moments of a Gaussian put into the derivative of the loss."""
    c = 1 - LEVELS
    teacher = c**2 * STD**2 / (c**2 * STD**2 + LEVELS**2)
    difference = teacher - c**2 * std**2 / (c**2 * std**2 + LEVELS**2)
    rest = 1 - teacher
    by_mean = rest * (MEAN - mean) * (difference * (1 - 2 * alpha) - rest)
    by_std = -2 * std * difference * (rest + alpha * difference)
    found: Array = (weight(LEVELS) * np.stack([by_mean, by_std])).mean(1)
    return found


@pytest.mark.parametrize("weighting", WEIGHTS)
@pytest.mark.parametrize("alpha", ALPHAS)
def test_the_gradient_is_that_of_the_closed_form(weighting: str, alpha: float) -> None:
    for mean, std in [(MEAN, STD), *ELSEWHERE]:
        found = gradient(mean, std, {"alpha": alpha, "weighting": weighting})
        expected = closed_form(mean, std, alpha, WEIGHTS[weighting])
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("weighting", [*WEIGHTS, "sid"])
@pytest.mark.parametrize("alpha", ALPHAS)
def test_it_vanishes_at_the_data_and_only_there(weighting: str, alpha: float) -> None:
    options = {"alpha": alpha, "weighting": weighting}
    np.testing.assert_allclose(gradient(MEAN, STD, options), 0, atol=1e-12)
    for mean, std in ELSEWHERE:
        assert np.linalg.norm(gradient(mean, std, options)) > 1e-3


@pytest.mark.parametrize("weighting", WEIGHTS)
@pytest.mark.parametrize("alpha", [0.5, 1.0, 1.2])
def test_it_points_to_the_data(weighting: str, alpha: float) -> None:
    for mean, std in ELSEWHERE:
        downhill = -gradient(mean, std, {"alpha": alpha, "weighting": weighting})
        way = np.array([MEAN - mean, STD - std])
        assert (downhill * way >= 0).all()


@pytest.mark.parametrize(("mean", "std"), [(MEAN, STD), (-0.2, 1.3)])
def test_the_fake_score_is_best_where_it_is_ideal(mean: float, std: float) -> None:
    """An error p x + q of its velocity costs E(p x + q)², at any place of the student."""
    config = DistillationConfig.model_validate({"guidance": {"scale": 1.0}})
    x0, ideal = mean + std * column(Z), Ideal(mean, std)
    draws = Draws(column(EPSILON), torch.from_numpy(SIGMA))

    def loss(error: Tensor) -> Tensor:
        def velocity(x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
            return ideal(x, sigma, condition) + error[0] * x + error[1]

        return fake_objective(x0, draws, nothing(len(x0)), velocity, config)

    zero = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(loss(zero), zero)
    np.testing.assert_allclose(slope.numpy(), 0, atol=1e-12)
    p, q = 0.3, -0.2
    first = (1 - LEVELS) * mean
    second = first**2 + (1 - LEVELS) ** 2 * std**2 + LEVELS**2
    cost = float((p**2 * second + 2 * p * q * first + q**2).mean())
    error = torch.tensor([p, q], dtype=torch.float64)
    assert float(loss(error) - loss(zero).detach()) == pytest.approx(cost)


class Mapping:
    """A generator: at noise level σ_i it maps what it is given affinely to a_i + b_i times it."""

    def __init__(self, steps: int, offsets: Tensor, factors: Tensor) -> None:
        self.steps, self.offsets, self.factors = steps, offsets, factors

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        step = round((1 - float(sigma[0])) * self.steps)
        return (x - (self.offsets[step] + self.factors[step] * x)) / sigma.reshape(-1, 1, 1, 1)


def at_the_data(steps: int) -> Mapping:
    """The one that has the data's distribution after each of its steps, with fresh noise."""
    level = 1 - torch.arange(steps, dtype=torch.float64) / steps
    factors = STD / ((1 - level) ** 2 * STD**2 + level**2).sqrt()
    return Mapping(steps, MEAN - factors * (1 - level) * MEAN, factors)


def samples(generator: Mapping, stop_after: int) -> Tensor:
    """What it makes of every corner of its normal numbers, ``[2^k, 1, 1, 1]``."""
    corners = np.array([*itertools.product([-1.0, 1.0], repeat=stop_after)])
    student = StudentConfig(steps=generator.steps)
    return roll_out(generator, lambda step: column(corners[:, step]), student, stop_after)


@pytest.mark.parametrize("steps", range(1, 9))
def test_a_student_at_the_data_stays_there_at_every_step(steps: int) -> None:
    generator = at_the_data(steps)
    for stop_after in range(1, steps + 1):
        made = samples(generator, stop_after)
        assert float(made.mean()) == pytest.approx(MEAN)
        assert float(made.std(correction=0)) == pytest.approx(STD)


@pytest.mark.parametrize("steps", [1, 4])
def test_training_brings_every_step_to_the_data(steps: int) -> None:
    """From the teacher's own one-step estimates, whose first is the mean with no spread."""
    config = DistillationConfig.model_validate({"guidance": {"scale": 1.0}})
    levels = [1 - i / steps for i in range(steps)]
    gains = [(1 - s) * STD**2 / ((1 - s) ** 2 * STD**2 + s**2) for s in levels]
    factors = torch.tensor(gains, dtype=torch.float64) + 0.05
    offsets = MEAN * (1 - factors * (1 - torch.tensor(levels, dtype=torch.float64)))
    generator = Mapping(steps, offsets.requires_grad_(), factors.requires_grad_())
    adam = torch.optim.Adam([generator.offsets, generator.factors], lr=0.02, betas=(0.0, 0.999))
    for iteration in range(150 * steps):
        made = samples(generator, iteration % steps + 1)
        spread = float(made.detach().std(correction=0))
        fake = Ideal(float(made.detach().mean()), spread)
        # Every sample at every level, with both signs of the noise.
        x0 = made.repeat_interleave(2 * len(LEVELS), 0)
        signs = np.tile([-1.0, 1.0], len(LEVELS) * len(made))
        draws = Draws(column(signs), torch.from_numpy(np.tile(np.repeat(LEVELS, 2), len(made))))
        adam.zero_grad()
        loss = student_objective(x0, draws, nothing(len(x0)), fake, Ideal(MEAN, STD), config)
        torch.autograd.backward(loss)
        adam.step()
    expected = at_the_data(steps)
    with torch.no_grad():
        for stop_after in range(1, steps + 1):
            made = samples(generator, stop_after)
            assert float(made.mean()) == pytest.approx(MEAN, abs=0.02)
            assert float(made.std(correction=0)) == pytest.approx(STD, abs=0.02)
    torch.testing.assert_close(generator.factors.detach(), expected.factors, rtol=0, atol=0.05)
