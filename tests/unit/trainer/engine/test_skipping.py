"""Updates that are skipped, and the losses that cause it."""

from __future__ import annotations

import math

import pytest
import torch

from sid_trainer.engine.skipping import SkippedUpdates, exposed


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
