"""Which kernels of attention are taken, and that wrong ones are found out."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

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
    takes_flash_4,
)

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
SHAPE = (1, 30, 2, 8)
HOPPER, BLACKWELL, AMPERE, DESKTOP = (9, 0), (10, 3), (8, 0), (12, 0)
BF16, FP32 = torch.bfloat16, torch.float32


@pytest.mark.parametrize(
    ("asked", "capability", "dtype", "installed", "taken"),
    [
        ("auto", HOPPER, BF16, True, True),
        ("auto", BLACKWELL, BF16, True, True),
        ("auto", AMPERE, BF16, True, False),
        ("auto", DESKTOP, BF16, True, False),
        ("auto", None, BF16, True, False),
        ("auto", HOPPER, BF16, False, False),
        ("auto", HOPPER, FP32, True, False),
        ("torch", HOPPER, BF16, True, False),
        ("torch", None, FP32, False, False),
        ("flash-4", HOPPER, BF16, True, True),
    ],
)
def test_flash_4_is_taken_where_it_is_wanted_and_can_be_had(
    asked: AttentionKernels,
    capability: tuple[int, int] | None,
    dtype: torch.dtype,
    installed: bool,
    taken: bool,
) -> None:
    assert takes_flash_4(asked, capability, dtype, installed=installed) is taken


@pytest.mark.parametrize(
    ("capability", "dtype", "installed", "words"),
    [
        (AMPERE, BF16, True, "this one is of 8.0: use auto"),
        (None, BF16, True, "this one is a CPU: use auto"),
        (HOPPER, FP32, True, "training.precision is fp32: use auto"),
        (HOPPER, BF16, False, "flash-attn-4 is not installed: use auto"),
    ],
)
def test_flash_4_is_refused_where_it_cannot_be_had(
    capability: tuple[int, int] | None, dtype: torch.dtype, installed: bool, words: str
) -> None:
    with pytest.raises(TrainerError, match=words) as raised:
        takes_flash_4("flash-4", capability, dtype, installed=installed)
    assert raised.value.reason is FailureReason.INVALID_CONFIGURATION
    assert "training.attention" in str(raised.value)


def test_a_cpu_has_nothing_to_choose() -> None:
    choose_attention("auto", CPU)
    with pytest.raises(TrainerError, match="a CPU"):
        choose_attention("flash-4", CPU)


@dataclass
class Gpu:
    """Stands for a GPU and for torch's switches of kernels, which need one.

    Attributes:
        capability: of the GPU.
        errors: of the gradients, by the kernels that are on: ``FA4``, or ``torch``.
        did: what was switched and tried, in this order.
    """

    capability: tuple[int, int] = HOPPER
    errors: dict[str, float | Exception] = field(default_factory=dict)
    did: list[str] = field(default_factory=list)
    kernels: str = "torch"

    def cudnn(self, enabled: bool) -> None:
        self.did.append(f"cuDNN {enabled}")

    def activate(self, kernels: str) -> None:
        self.did.append(kernels)
        self.kernels = kernels

    def restore(self, *, _raise_warn: bool) -> None:
        self.did.append("restored")
        self.kernels = "torch"

    def tried(self, device: torch.device, dtype: torch.dtype) -> float:
        assert device == GPU
        self.did.append(f"{self.kernels} tried")
        error = self.errors.get(self.kernels, 1e-3)
        if isinstance(error, Exception):
            raise error
        return error


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    there = Gpu()
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: there.capability)
    monkeypatch.setattr(torch.backends.cuda, "enable_cudnn_sdp", there.cudnn)
    monkeypatch.setattr(attention, "_installed", lambda: True)
    monkeypatch.setattr(attention, "activate_flash_attention_impl", there.activate)
    monkeypatch.setattr(attention, "restore_flash_attention_impl", there.restore)
    monkeypatch.setattr(attention, "_largest_error", there.tried)
    return there


@pytest.mark.parametrize(
    ("asked", "capability", "done"),
    [
        ("auto", HOPPER, ["cuDNN False", "FA4", "FA4 tried"]),
        ("flash-4", HOPPER, ["cuDNN False", "FA4", "FA4 tried"]),
        ("auto", AMPERE, ["cuDNN False", "torch tried"]),
        ("torch", HOPPER, ["cuDNN False", "torch tried"]),
    ],
)
def test_what_is_chosen_is_switched_on_and_then_tried(
    gpu: Gpu, asked: AttentionKernels, capability: tuple[int, int], done: list[str]
) -> None:
    gpu.capability = capability
    choose_attention(asked, GPU)
    assert gpu.did == done


WRONG = [1.1, float("nan"), ValueError("no such architecture")]


@pytest.mark.parametrize("error", WRONG, ids=str)
def test_auto_takes_torchs_kernels_where_flash_4_fails_and_tells_it(
    gpu: Gpu, error: float | Exception, caplog: pytest.LogCaptureFixture
) -> None:
    gpu.errors = {"FA4": error}
    with caplog.at_level(logging.WARNING):
        choose_attention("auto", GPU)
    assert gpu.did == ["cuDNN False", "FA4", "FA4 tried", "restored", "torch tried"]
    assert "FlashAttention 4" in caplog.text
    assert "PyTorch's own kernels are taken" in caplog.text


@pytest.mark.parametrize("error", WRONG, ids=str)
def test_a_run_for_flash_4_does_not_begin_where_it_fails(
    gpu: Gpu, error: float | Exception
) -> None:
    gpu.errors = {"FA4": error}
    with pytest.raises(TrainerError, match=r"set training\.attention to torch") as raised:
        choose_attention("flash-4", GPU)
    assert raised.value.reason is FailureReason.INVALID_CONFIGURATION


def test_a_run_does_not_begin_where_torchs_kernels_are_wrong_but_may_elsewhere(gpu: Gpu) -> None:
    gpu.errors = {"torch": float("nan")}
    with pytest.raises(TrainerError, match="try another node") as raised:
        choose_attention("torch", GPU)
    assert raised.value.reason is FailureReason.UNKNOWN  # another attempt is made


def test_a_gpu_that_fails_is_not_put_down_to_the_kernels(gpu: Gpu) -> None:
    gpu.errors = {"FA4": torch.OutOfMemoryError("of another process")}
    with pytest.raises(torch.OutOfMemoryError):
        choose_attention("auto", GPU)


@pytest.mark.parametrize("sliced", [True, False])
@pytest.mark.parametrize("dtype", [BF16, FP32], ids=str)
def test_right_attention_errs_by_no_more_than_rounding(dtype: torch.dtype, sliced: bool) -> None:
    bound = LARGEST_ERROR if dtype is BF16 else 1e-5
    assert gradient_error(SHAPE, CPU, dtype=dtype, sliced=sliced) < bound


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
