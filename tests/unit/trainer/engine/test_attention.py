"""Which kernels of attention are taken, and that wrong ones are found out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from sid_trainer.config import AttentionKernels
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.engine import attention
from sid_trainer.engine.attention import (
    LARGEST_ERROR,
    choose_attention,
    gradient_error,
    require_right_gradients,
    takes_flash_4,
)

CPU = torch.device("cpu")
SHAPE = (1, 30, 2, 8)
HOPPER, BLACKWELL, AMPERE, DESKTOP = (9, 0), (10, 3), (8, 0), (12, 0)


@pytest.mark.parametrize(
    ("asked", "capability", "installed", "taken"),
    [
        ("auto", HOPPER, True, True),
        ("auto", BLACKWELL, True, True),
        ("auto", AMPERE, True, False),
        ("auto", DESKTOP, True, False),
        ("auto", None, True, False),
        ("auto", HOPPER, False, False),
        ("torch", HOPPER, True, False),
        ("torch", None, False, False),
        ("flash-4", HOPPER, True, True),
    ],
)
def test_flash_4_is_taken_where_it_is_wanted_and_can_be_had(
    asked: AttentionKernels, capability: tuple[int, int] | None, installed: bool, taken: bool
) -> None:
    assert takes_flash_4(asked, capability, installed=installed) is taken


@pytest.mark.parametrize(
    ("capability", "installed", "words"),
    [
        (AMPERE, True, "this one is of 8.0: use auto"),
        (None, True, "this one is a CPU: use auto"),
        (HOPPER, False, "flash-attn-4 is not installed"),
    ],
)
def test_flash_4_is_refused_where_it_cannot_be_had(
    capability: tuple[int, int] | None, installed: bool, words: str
) -> None:
    with pytest.raises(TrainerError, match=words) as raised:
        takes_flash_4("flash-4", capability, installed=installed)
    assert raised.value.reason is FailureReason.INVALID_CONFIGURATION
    assert "training.attention" in str(raised.value)


def test_a_cpu_has_nothing_to_choose() -> None:
    choose_attention("auto", CPU)
    with pytest.raises(TrainerError, match="a CPU"):
        choose_attention("flash-4", CPU)


@pytest.mark.parametrize("sliced", [True, False])
def test_right_attention_errs_by_no_more_than_rounding(sliced: bool) -> None:
    assert 0 < gradient_error(SHAPE, CPU, sliced=sliced) < LARGEST_ERROR


def test_kernels_that_misread_a_sliced_gradient_are_found_out() -> None:
    error = gradient_error(SHAPE, CPU, _Misreading.apply)
    assert error > LARGEST_ERROR
    assert gradient_error(SHAPE, CPU, _Misreading.apply, sliced=False) < LARGEST_ERROR


class _Misreading(torch.autograd.Function):
    """Takes the gradient of its output for contiguous, whatever its strides say."""

    @staticmethod
    def forward(ctx: object, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        with torch.enable_grad():
            leaves = [x.detach().requires_grad_() for x in (query, key, value)]
            out = functional.scaled_dot_product_attention(*leaves)
        ctx.graph = out, leaves  # type: ignore[attr-defined]
        return out.detach()

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        out, leaves = ctx.graph  # type: ignore[attr-defined]
        _, heads, tokens, width = gradient.shape
        strides = (tokens * heads * width, width, heads * width, 1)
        return torch.autograd.grad(out, leaves, gradient.as_strided(gradient.shape, strides))


@pytest.mark.parametrize(
    ("flash_4", "reason", "words"),
    [
        (True, FailureReason.INVALID_CONFIGURATION, "set training.attention to torch"),
        (False, FailureReason.NUMERICAL_ERROR, "try another node"),
    ],
)
@pytest.mark.parametrize("error", [1.1, float("nan")])
def test_a_run_with_wrong_kernels_does_not_begin(
    monkeypatch: pytest.MonkeyPatch,
    flash_4: bool,
    reason: FailureReason,
    words: str,
    error: float,
) -> None:
    monkeypatch.setattr(attention, "gradient_error", lambda *_: error)
    with pytest.raises(TrainerError, match=words) as raised:
        require_right_gradients(CPU, flash_4=flash_4)
    assert raised.value.reason is reason


def test_kernels_that_do_not_compile_are_told_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def failing(*_: object) -> float:
        raise ValueError("no such architecture")

    monkeypatch.setattr(attention, "gradient_error", failing)
    with pytest.raises(TrainerError, match=r"ValueError: no such architecture.*to torch"):
        require_right_gradients(CPU, flash_4=True)
    with pytest.raises(ValueError, match="no such architecture"):
        require_right_gradients(CPU, flash_4=False)
