"""Each option changes exactly the term that it should: losses and roll-outs against numpy.

The reference has every term as an argument. A row of a table gives a setting and the terms that
differ from the default's; all others are the default's, so a setting that changes anything else
disagrees with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from numpy.typing import NDArray
from torch import Tensor

from sid_trainer.config import DistillationConfig, StudentConfig
from sid_trainer.method.conditions import Condition
from sid_trainer.method.fixed_noise_scheduler import FixedNoiseScheduler
from sid_trainer.method.objective import Draws, PromptPair, fake_objective, student_objective
from sid_trainer.method.sampler import needs_own_scheduler, roll_out, scheduler_config

Array = NDArray[np.float64]
BATCH, SHAPE = 3, (2, 2, 2)
RANDOM = np.random.default_rng(5)
X0, NOISE = RANDOM.normal(size=(2, BATCH, *SHAPE))
SIGMA = np.array([0.15, 0.5, 0.9])
TEXT, EMPTY = RANDOM.normal(size=BATCH), 0.4


@dataclass(frozen=True)
class Score:
    """A velocity that depends on all it is given, in numpy and through it in torch."""

    mix: Array
    bend: float

    def __call__(self, x: Array, sigma: Array, text: Array) -> Array:
        flat = x.reshape(len(x), -1) @ self.mix
        return np.tanh(flat + self.bend * sigma[:, None] + text[:, None]).reshape(x.shape) + x / 3

    def torch(self, x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        text = condition.tensors["text"][:, 0]
        return torch.from_numpy(self(x.numpy(), sigma.numpy(), text.numpy()))


FAKE = Score(RANDOM.normal(size=(8, 8)) / 3, 1.0)
TEACHER = Score(RANDOM.normal(size=(8, 8)) / 3, -0.5)


@dataclass(frozen=True)
class Terms:
    """What the losses are made of: the default's."""

    alpha: float = 1.0
    weight: Callable[[Array, Array, Array], Array] = lambda s, x, f: 1 - s
    fake_training: float = 4.5
    fake: float = 4.5
    teacher: float = 4.5


def reference(terms: Terms) -> tuple[float, float]:
    """Loss of the fake score and of the student."""
    s = SIGMA.reshape(-1, 1, 1, 1)
    x = (1 - s) * X0 + s * NOISE

    def guided(network: Score, scale: float) -> Array:
        without = network(x, SIGMA, np.full(BATCH, EMPTY))
        return without + scale * (network(x, SIGMA, TEXT) - without)

    error = guided(FAKE, terms.fake_training) - (NOISE - X0)
    f_fake, f_teacher = x - s * guided(FAKE, terms.fake), x - s * guided(TEACHER, terms.teacher)
    difference = f_teacher - f_fake
    product = difference * ((f_teacher - X0) - terms.alpha * difference)
    weight = terms.weight(SIGMA, X0, f_teacher)
    student = sum(weight[b] * product[b].sum() for b in range(BATCH)) / BATCH
    return float((error**2).sum() / BATCH), float(student)


def losses(settings: dict[str, Any]) -> tuple[float, float]:
    """The same of the trainer's own."""
    config = DistillationConfig.model_validate(settings)
    x0, draws = torch.from_numpy(X0), Draws(torch.from_numpy(NOISE), torch.from_numpy(SIGMA))
    prompts = PromptPair(
        Condition({"text": torch.from_numpy(TEXT)[:, None]}),
        Condition({"text": torch.full((1, 1), EMPTY, dtype=torch.float64)}),
    )
    fake = fake_objective(x0, draws, prompts, FAKE.torch, config)
    student = student_objective(x0, draws, prompts, FAKE.torch, TEACHER.torch, config)
    return float(fake), float(student)


def distance(s: Array, x: Array, f: Array) -> Array:
    return np.array([1 / np.abs(x[b] - f[b]).mean() for b in range(len(x))])


def guidance(**options: Any) -> dict[str, Any]:
    return {"guidance": options}


OPTIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "default": ({}, {}),
    "alpha 0": ({"alpha": 0.0}, {"alpha": 0.0}),
    "alpha 0.5": ({"alpha": 0.5}, {"alpha": 0.5}),
    "alpha 1.2": ({"alpha": 1.2}, {"alpha": 1.2}),
    **{
        f"weighting {name}": ({"weighting": name}, {"weight": weight})
        for name, weight in {
            "one-minus-sigma-squared": lambda s, x, f: (1 - s) ** 2,
            "inverse-sigma": lambda s, x, f: 1 / s,
            "inverse-sigma-squared": lambda s, x, f: 1 / s**2,
            "sqrt-snr": lambda s, x, f: (1 - s) / s,
            "snr": lambda s, x, f: ((1 - s) / s) ** 2,
            "sid": distance,
        }.items()
    },
    "scale 1": (guidance(scale=1.0), {"fake_training": 1.0, "fake": 1.0, "teacher": 1.0}),
    "scale 0": (guidance(scale=0.0), {"fake_training": 0.0, "fake": 0.0, "teacher": 0.0}),
    "scale 2": (guidance(scale=2.0), {"fake_training": 2.0, "fake": 2.0, "teacher": 2.0}),
    "ZeroCFG": (
        guidance(strategy="ZeroCFG"),
        {"fake_training": 0.0, "fake": 0.0, "teacher": 1.0},
    ),
    "AntiCFG": (
        guidance(strategy="AntiCFG", scale=1.5),
        {"fake_training": -1.5, "fake": -1.5, "teacher": 1.0},
    ),
    "fakeTrainingScale": (guidance(fakeTrainingScale=2.5), {"fake_training": 2.5}),
    "fakeScale": (guidance(fakeScale=-0.5), {"fake": -0.5}),
    "teacherScale": (guidance(teacherScale=3.0), {"teacher": 3.0}),
    "teacherScale 0 is no default": (guidance(teacherScale=0.0), {"teacher": 0.0}),
    "a scale over a strategy": (
        guidance(strategy="ZeroCFG", teacherScale=2.0),
        {"fake_training": 0.0, "fake": 0.0, "teacher": 2.0},
    ),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_of_the_losses_changes_its_terms_only(name: str) -> None:
    settings, changes = OPTIONS[name]
    terms = replace(Terms(), **changes)
    assert losses(settings) == pytest.approx(reference(terms), rel=1e-10)
    fake, student = (
        abs(new - default) > 1e-6
        for new, default in zip(reference(terms), reference(Terms()), strict=True)
    )
    assert fake == ("fake_training" in changes)
    assert student == bool(changes.keys() - {"fake_training"})


MODES: dict[str, Callable[[Array, Array, Array, float, Array], Array]] = {
    "fresh": lambda start, x, clean, s, drawn: drawn,
    "fixed": lambda start, x, clean, s, drawn: start,
    "ddim": lambda start, x, clean, s, drawn: (x - (1 - s) * clean) / s,
}
STEP_NOISE = RANDOM.normal(size=(8, BATCH, *SHAPE))


def student_velocity(x: Tensor, sigma: Tensor) -> Tensor:
    return TEACHER.torch(x, sigma, Condition({"text": torch.from_numpy(TEXT)[:, None]}))


def rolled_out(steps: int, mode: str, stop_after: int, noise: Array = STEP_NOISE) -> Array:
    """A student's sample by hand."""
    start = x = noise[0]
    for i in range(stop_after):
        s, following = (steps - i) / steps, (steps - i - 1) / steps
        clean = x - s * TEACHER(x, np.full(BATCH, s), TEXT)
        if i + 1 < stop_after:
            mixed_in = MODES[mode](start, x, clean, s, noise[i + 1])
            x = (1 - following) * clean + following * mixed_in
    return np.asarray(clean)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("steps", range(1, 9))
def test_steps_and_noise_of_the_roll_out(steps: int, mode: str) -> None:
    student = StudentConfig.model_validate({"steps": steps, "noise": mode})
    for stop_after in range(1, steps + 1):
        made = roll_out(
            student_velocity, lambda step: torch.from_numpy(STEP_NOISE[step]), student, stop_after
        )
        np.testing.assert_allclose(made.numpy(), rolled_out(steps, mode, stop_after), rtol=1e-12)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("steps", range(1, 9))
def test_the_scheduler_takes_the_same_steps(steps: int, mode: str) -> None:
    """On its own default grid, with the numbers that it draws itself, one sample after another."""
    student = StudentConfig.model_validate({"steps": steps, "noise": mode})
    kind = FixedNoiseScheduler if needs_own_scheduler(student) else FlowMatchEulerDiscreteScheduler
    scheduler = kind(**scheduler_config(student))
    generator = torch.Generator().manual_seed(steps)
    for _ in range(2):
        again = generator.clone_state()
        noise = torch.stack([torch.randn(BATCH, *SHAPE, generator=again) for _ in range(steps)])
        x = torch.randn(BATCH, *SHAPE, generator=generator)
        scheduler.set_timesteps(steps)
        for time in scheduler.timesteps:
            velocity = student_velocity(x.double(), (time / 1000).double().expand(BATCH))
            step = scheduler.step(velocity.float(), time, x, generator=generator)
            x = step.prev_sample
        expected = rolled_out(steps, mode, steps, noise.double().numpy())
        np.testing.assert_allclose(x.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_the_scheduler_of_fixed_noise_computes_in_fp32_and_keeps_the_networks_type() -> None:
    scheduler = FixedNoiseScheduler(**scheduler_config(StudentConfig(steps=3, noise="fixed")))
    scheduler.set_timesteps(3)
    start = x = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(1)).bfloat16()
    for number, time in enumerate(scheduler.timesteps):
        level, following = (3 - number) / 3, (2 - number) / 3
        velocity = (x * level).tanh()
        (made,) = scheduler.step(velocity, time, x, return_dict=False)
        assert made.dtype == torch.bfloat16
        expected = (1 - following) * (x.float() - level * velocity) + following * start.float()
        torch.testing.assert_close(made, expected.bfloat16(), rtol=0, atol=1e-3)
        x = made
