"""Losses, summed by hand."""

from __future__ import annotations

import pytest
import torch

from sid_trainer.method.losses import fake_score_loss, student_loss
from tests.unit.trainer.method.tensors import numbers


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
