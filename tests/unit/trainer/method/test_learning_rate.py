"""The learning rate rises, and stays."""

from __future__ import annotations

import pytest

from sid_trainer.config import AdversarialConfig
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
