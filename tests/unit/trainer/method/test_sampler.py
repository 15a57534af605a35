"""The student's steps, made by hand, and the scheduler that makes them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sid_trainer.config import StudentConfig
from sid_trainer.method.sampler import needs_own_scheduler, roll_out, scheduler_config
from tests.unit.trainer.method.tensors import numbers


@pytest.mark.parametrize("mode", ["fresh", "fixed", "ddim"])
def test_roll_out_by_hand(mode: str) -> None:
    student = StudentConfig.model_validate({"steps": 3, "noise": mode})
    z = [numbers(i) for i in range(3)]
    v = 0.5
    asked: list[int] = []

    def noise(step: int) -> Tensor:
        asked.append(step)
        return z[step]

    levels: list[float] = []

    def velocity(x: Tensor, sigma: Tensor) -> Tensor:
        levels.append(float(sigma[0]))
        return v * x

    d1 = z[0] * (1 - v)
    n1 = {"fresh": z[1], "fixed": z[0], "ddim": z[0]}[mode]
    x1 = d1 / 3 + 2 / 3 * n1
    d2 = x1 * (1 - 2 / 3 * v)
    n2 = {"fresh": z[2], "fixed": z[0], "ddim": (x1 - d2 / 3) / (2 / 3)}[mode]
    x2 = 2 / 3 * d2 + n2 / 3
    d3 = x2 * (1 - v / 3)
    for stop, expected in ((1, d1), (2, d2), (3, d3)):
        asked.clear()
        levels.clear()
        torch.testing.assert_close(roll_out(velocity, noise, student, stop), expected)
        assert levels == pytest.approx([1, 2 / 3, 1 / 3][:stop])
        assert asked == ([*range(stop)] if mode == "fresh" else [0])


def test_only_the_last_step_carries_gradient() -> None:
    weight = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    grads: list[bool] = []

    def velocity(x: Tensor, sigma: Tensor) -> Tensor:
        grads.append(torch.is_grad_enabled())
        return weight * x

    student = StudentConfig(steps=4)
    sample = roll_out(velocity, numbers, student, 3)
    assert grads == [False, False, True]
    (gradient,) = torch.autograd.grad(sample.sum(), weight)
    with torch.no_grad():
        level = 0.5
        x = roll_out(velocity, numbers, student, 2) * (1 - level) + level * numbers(2)
    torch.testing.assert_close(gradient, -(level * x).sum())


def test_scheduler_config_of_modes() -> None:
    assert scheduler_config(StudentConfig(steps=4)) == {
        "num_train_timesteps": 1000,
        "shift": 1.0,
        "use_dynamic_shifting": False,
        "stochastic_sampling": True,
        "shift_terminal": 0.25,
    }
    ddim = scheduler_config(StudentConfig(steps=1, noise="ddim"))
    assert ddim["stochastic_sampling"] is False
    assert "shift_terminal" not in ddim


@pytest.mark.parametrize("steps", range(1, 9))
def test_only_fixed_noise_of_more_than_two_steps_needs_a_scheduler_of_ours(steps: int) -> None:
    assert needs_own_scheduler(StudentConfig(steps=steps, noise="fixed")) == (steps > 2)
    assert not needs_own_scheduler(StudentConfig(steps=steps, noise="fresh"))
    assert not needs_own_scheduler(StudentConfig(steps=steps, noise="ddim"))
