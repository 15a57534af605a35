"""Losses, weights, schedule, sampler and guidance against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sid_trainer.config import GuidanceConfig, StudentConfig, Weighting
from sid_trainer.method.conditions import Condition
from sid_trainer.method.ema import MovingAverage, decay
from sid_trainer.method.flow import (
    add_noise,
    clean_estimate,
    student_noise_levels,
    training_noise_level,
)
from sid_trainer.method.guidance import guided_velocity
from sid_trainer.method.guidance_scales import GuidanceScales, guidance_scales
from sid_trainer.method.losses import fake_score_loss, student_loss
from sid_trainer.method.sampler import needs_own_scheduler, roll_out, scheduler_config
from sid_trainer.method.weighting import loss_weight

SHAPE = (3, 2, 4, 4)


def numbers(seed: int, shape: tuple[int, ...] = SHAPE) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def test_noise_of_the_true_velocity_is_undone() -> None:
    x0, noise = numbers(1), numbers(2)
    sigma = torch.tensor([0.1, 0.5, 1.0], dtype=torch.float64)
    x = add_noise(x0, noise, sigma)
    torch.testing.assert_close(x[1], 0.5 * x0[1] + 0.5 * noise[1])
    torch.testing.assert_close(x[2], noise[2])
    torch.testing.assert_close(clean_estimate(x, noise - x0, sigma), x0)


def test_training_noise_levels_are_logistic_normal() -> None:
    normal = torch.linspace(-3, 3, 7, dtype=torch.float64)
    expected = [1 / (1 + 1 / (2 * math.exp(1.6 * n))) for n in normal.tolist()]
    torch.testing.assert_close(
        training_noise_level(normal), torch.tensor(expected, dtype=torch.float64)
    )
    # The median is the level whose odds are two to one.
    assert float(training_noise_level(torch.zeros(1))) == pytest.approx(2 / 3)


@pytest.mark.parametrize(("steps", "levels"), [(1, [1]), (2, [1, 0.5]), (4, [1, 0.75, 0.5, 0.25])])
def test_student_noise_levels(steps: int, levels: list[float]) -> None:
    assert list(student_noise_levels(steps)) == levels


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("one-minus-sigma", 0.75),
        ("one-minus-sigma-squared", 0.5625),
        ("inverse-sigma", 4.0),
        ("inverse-sigma-squared", 16.0),
        ("sqrt-snr", 3.0),
        ("snr", 9.0),
    ],
)
def test_weights_of_the_noise_level(name: Weighting, expected: float) -> None:
    sigma = torch.full((3,), 0.25, requires_grad=True)
    weight = loss_weight(name, sigma, numbers(1), numbers(2))
    assert weight.tolist() == pytest.approx([expected] * 3)
    assert not weight.requires_grad


def test_sid_weight_is_the_inverse_mean_distance_without_gradient() -> None:
    x, teacher = numbers(1).requires_grad_(), numbers(2)
    with torch.no_grad():
        teacher[2] = x[2]
    weight = loss_weight("sid", torch.ones(3), x, teacher)
    expected = [1 / float((x[b] - teacher[b]).detach().abs().sum() / 32) for b in range(2)]
    assert weight[:2].tolist() == pytest.approx(expected)
    assert float(weight[2]) == pytest.approx(1e5)
    assert not weight.requires_grad


def test_fake_score_loss_sums_over_pixels_and_averages_over_the_batch() -> None:
    velocity, x0, noise = numbers(1), numbers(2).requires_grad_(), numbers(3)
    by_hand = sum(
        (v - (e - x)) ** 2
        for v, e, x in zip(
            velocity.flatten().tolist(),
            noise.flatten().tolist(),
            x0.detach().flatten().tolist(),
            strict=True,
        )
    )
    loss = fake_score_loss(velocity, x0, noise)
    assert float(loss) == pytest.approx(by_hand / 3)
    assert not loss.requires_grad


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 1.2])
def test_student_loss(alpha: float) -> None:
    x, teacher, fake = numbers(1), numbers(2), numbers(3)
    weight = torch.tensor([0.3, 1.0, 2.0], dtype=torch.float64)
    by_hand = 0.0
    for b in range(3):
        triples = zip(
            x[b].flatten().tolist(),
            teacher[b].flatten().tolist(),
            fake[b].flatten().tolist(),
            strict=True,
        )
        by_hand += float(weight[b]) * sum(
            (t - f) * ((t - s) - alpha * (t - f)) for s, t, f in triples
        )
    assert float(student_loss(x, teacher, fake, weight, alpha)) == pytest.approx(by_hand / 3)


def test_student_loss_with_alpha_one_is_the_product_form() -> None:
    x, teacher, fake = numbers(1), numbers(2), numbers(3)
    product = ((teacher - fake) * (fake - x)).sum() / 3
    torch.testing.assert_close(
        student_loss(x, teacher, fake, torch.ones(3, dtype=torch.float64), 1.0), product
    )


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("LSG", GuidanceScales(4.5, 4.5, 4.5)),
        ("ZeroCFG", GuidanceScales(0.0, 0.0, 1.0)),
        ("AntiCFG", GuidanceScales(-4.5, -4.5, 1.0)),
    ],
)
def test_guidance_scales(strategy: str, expected: GuidanceScales) -> None:
    config = GuidanceConfig.model_validate({"strategy": strategy, "scale": 4.5})
    assert guidance_scales(config) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"fakeTrainingScale": 1.0}, GuidanceScales(1.0, 4.5, 4.5)),
        ({"fakeScale": -2.0}, GuidanceScales(4.5, -2.0, 4.5)),
        ({"teacherScale": 0.0}, GuidanceScales(4.5, 4.5, 0.0)),
        ({"strategy": "ZeroCFG", "teacherScale": 3.0}, GuidanceScales(0.0, 0.0, 3.0)),
        ({"strategy": "AntiCFG", "scale": 2.0, "fakeScale": 1.0}, GuidanceScales(-2.0, 1.0, 1.0)),
    ],
)
def test_scales_that_are_given_one_by_one(
    given: dict[str, object], expected: GuidanceScales
) -> None:
    assert guidance_scales(GuidanceConfig.model_validate(given)) == expected


@pytest.mark.parametrize(
    "unused",
    [
        {"strategy": "ZeroCFG"},
        {"strategy": "AntiCFG", "fakeTrainingScale": 1.0, "fakeScale": 1.0},
        {"fakeTrainingScale": 1.0, "fakeScale": 1.0, "teacherScale": 1.0},
    ],
)
def test_a_scale_that_nothing_uses_is_refused(unused: dict[str, object]) -> None:
    assert GuidanceConfig.model_validate(unused).scale == 4.5
    with pytest.raises(ValueError, match=r"guidance\.scale 2\.0 is not used.*remove it"):
        GuidanceConfig.model_validate({**unused, "scale": 2.0})


class Recorder:
    """A velocity that is the prompt's number, and how many samples each call had."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        assert len(x) == len(sigma) == len(condition)
        self.calls.append(len(x))
        return x * 0 + condition.tensors["text"].reshape(-1, 1, 1, 1)


@pytest.mark.parametrize(("scale", "batch"), [(1.0, 3), (0.0, 3), (4.5, 6), (-1.0, 6), (0.5, 6)])
def test_guided_velocity_in_one_call(scale: float, batch: int) -> None:
    network = Recorder()
    prompts = Condition({"text": torch.tensor([[2.0], [3.0], [5.0]])})
    empty = Condition({"text": torch.tensor([[1.0]])})
    velocity = guided_velocity(network, numbers(1), torch.ones(3), prompts, empty, scale)
    expected = [1 + scale * (c - 1) for c in (2, 3, 5)]
    assert velocity[:, 0, 0, 0].tolist() == pytest.approx(expected)
    assert network.calls == [batch]


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


def test_the_average_has_its_half_life() -> None:
    average = MovingAverage({"w": torch.ones(1)}, decay(batch_size=10, half_life_images=40))
    for _ in range(4):
        average.update({"w": torch.zeros(1)})
    assert float(average.shards["w"]) == pytest.approx(0.5)
