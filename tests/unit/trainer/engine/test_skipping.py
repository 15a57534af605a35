"""Warm-up, skipped updates and the means that leave them out, as pure decisions."""

from __future__ import annotations

import math

import pytest
import torch

from sid_trainer.config import AdversarialConfig
from sid_trainer.engine.skipping import SkippedUpdates, exposed
from sid_trainer.engine.training_metrics import means_of_finite
from sid_trainer.method.adversarial import phase, student_begins
from sid_trainer.method.learning_rate import LearningRate


@pytest.mark.parametrize(
    ("warmup", "iteration", "rate"),
    [(0, 0, 2.0), (4, 0, 0.5), (4, 2, 1.5), (4, 3, 2.0), (4, 4, 2.0), (1, 0, 2.0)],
)
def test_the_rate_rises_linearly_and_stays(warmup: int, iteration: int, rate: float) -> None:
    assert LearningRate(2.0, warmup).of(iteration) == rate


@pytest.mark.parametrize(("batch_size", "first"), [(256, 79), (100, 200), (40_000, 1)])
def test_the_students_rate_rises_from_its_first_update_on(batch_size: int, first: int) -> None:
    settings = AdversarialConfig(student_starts_after_images=20_000)
    begins = student_begins(settings, batch_size)
    assert begins == first
    assert phase(settings, begins * batch_size).student
    assert not phase(settings, (begins - 1) * batch_size).student
    rate = LearningRate(2.0, 4, begins)
    assert [rate.of(begins + i) for i in range(5)] == [0.5, 1.0, 1.5, 2.0, 2.0]
    assert student_begins(None, batch_size) == 0


def test_skipped_updates_are_counted_in_all_and_in_a_row() -> None:
    skipped = SkippedUpdates(total=3)
    for applied in (False, False, True, False):
        skipped.note(applied)
    assert skipped == SkippedUpdates(total=6, in_a_row=1)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_has_no_finite_gradient(value: float) -> None:
    weight = torch.tensor([1.0, 0.0], requires_grad=True)
    # The gradient of the bare sum would be finite.
    exposed(weight.sum() + value).backward()
    assert weight.grad is not None
    assert weight.grad.isnan().all()


def test_a_finite_loss_is_as_it_was() -> None:
    weight = torch.tensor([1.5, -3.0], requires_grad=True)
    loss = exposed(weight.square().sum())
    loss.backward()
    assert loss.item() == 11.25
    assert weight.grad is not None
    assert weight.grad.tolist() == [3.0, -6.0]


def test_means_are_over_what_is_finite() -> None:
    names = ["a", "b", "c", "a", "c", "a"]
    numbers = [1.0, math.nan, math.inf, 4.0, 5.0, math.nan]
    assert means_of_finite(names, numbers) == {"a": 2.5, "c": 5.0}
