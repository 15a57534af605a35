"""Which kernels compute attention on a GPU, and whether they can be trusted.

Rules this module keeps:

* Never cuDNN's. Where the gradient of attention's output is a slice of a wider tensor, as in
  FLUX.1's single blocks, its backward pass gives gradients with a relative error of 1, and in
  training an illegal memory access (torch 2.11, cuDNN 9.19, H200; not tried since). It also gives
  NaN for some masks (pytorch issue 196678).
* What is chosen is tried, without a mask, on the GPU at hand before anything is trained: a wrong
  kernel says nothing, and costs the whole run. With a mask torch takes other kernels in any case.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable
from importlib.util import find_spec

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import (
    SDPBackend,
    activate_flash_attention_impl,
    restore_flash_attention_impl,
    sdpa_kernel,
)

from sid_trainer.config import AttentionKernels
from sid_trainer.contract import FailureReason, TrainerError

logger = logging.getLogger(__name__)

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Query, key and value, ``[B, H, T, W]`` each, to the output of the same shape."""

FLASH_4_GENERATIONS = {9: "Hopper", 10: "Blackwell"}
"""Major compute capabilities for which torch hands attention to FlashAttention 4."""
FLASH_4_PACKAGE = "flash_attn.cute"
TRIED = ((1, 1000, 2, 64), (1, 1000, 2, 128), (2, 1000, 24, 64), (2, 1000, 24, 128))
"""``[B, T, H, W]`` of the trials: heads of SD3's and of FLUX.1's width, a ragged length; few heads,
which Blackwell's kernels split over keys, and as many as in training, which they do not."""
LARGEST_ERROR = 2e-2
"""Of a gradient, relative. Rounding to bf16 makes 2.4e-3; the wrong kernels that were met, 1."""


def choose_attention(
    asked: AttentionKernels, device: torch.device, dtype: torch.dtype = torch.bfloat16
) -> None:
    """Have attention computed by the kernels that the user asked for, and try them.

    Where they are left to the trainer (``auto``) and FlashAttention 4 does not stand the trial,
    PyTorch's own are taken, with a warning.

    Args:
        asked: ``training.attention``.
        device: this rank's. On a CPU there is nothing to choose.
        dtype: what networks compute in.

    Raises:
        TrainerError: ``InvalidConfiguration`` when FlashAttention 4 is asked for and cannot be had
            or is wrong here; ``Error``, which is retried, when torch's own kernels are.
    """
    capability = torch.cuda.get_device_capability(device) if device.type == "cuda" else None
    flash_4 = takes_flash_4(asked, capability, dtype, installed=_installed())
    if capability is None:
        return
    torch.backends.cuda.enable_cudnn_sdp(False)
    if flash_4:
        try:
            _take_flash_4(device)
        except TrainerError as problem:
            if asked == "flash-4":
                raise
            restore_flash_attention_impl(_raise_warn=False)
            logger.warning("%s. PyTorch's own kernels are taken", problem)
            flash_4 = False
    if not flash_4:
        _require_right(device, dtype)
    logger.info("attention: %s", "FlashAttention 4" if flash_4 else "PyTorch's own kernels")


def takes_flash_4(
    asked: AttentionKernels,
    capability: tuple[int, int] | None,
    dtype: torch.dtype,
    *,
    installed: bool,
) -> bool:
    """Whether attention is to be FlashAttention 4's.

    Args:
        asked: ``training.attention``.
        capability: the GPU's compute capability; none is a CPU.
        dtype: what networks compute in.
        installed: whether the package is.

    Raises:
        TrainerError: ``InvalidConfiguration`` when it is asked for and cannot be had.
    """
    obstacle = _obstacle(capability, dtype, installed=installed)
    if asked == "flash-4" and obstacle:
        raise TrainerError(
            FailureReason.INVALID_CONFIGURATION,
            f"training.attention is flash-4, but {obstacle}: use auto",
        )
    return asked != "torch" and not obstacle


def _obstacle(
    capability: tuple[int, int] | None, dtype: torch.dtype, *, installed: bool
) -> str | None:
    """Why FlashAttention 4 cannot be had."""
    if capability is None or capability[0] not in FLASH_4_GENERATIONS:
        here = "a CPU" if capability is None else "of {}.{}".format(*capability)
        generations = " and ".join(f"{n}.x ({g})" for n, g in FLASH_4_GENERATIONS.items())
        return f"it is for GPUs of compute capability {generations}, and this one is {here}"
    if dtype != torch.bfloat16:
        return "it computes in bf16, and training.precision is fp32"
    return None if installed else "the package flash-attn-4 is not installed"


def _take_flash_4(device: torch.device) -> None:
    """Have torch hand attention to FlashAttention 4, and try it.

    Raises:
        TrainerError: ``InvalidConfiguration`` when it cannot be loaded or compiled, or is wrong.
    """
    # Its compiler warns of an argument of its own, once for each kernel.
    warnings.filterwarnings("ignore", "Argument aux_data", UserWarning)
    try:
        activate_flash_attention_impl("FA4")
        error = _largest_error(device, torch.bfloat16)
    except (torch.OutOfMemoryError, torch.AcceleratorError):  # of the GPU, not of these kernels
        raise
    except Exception as problem:
        raise TrainerError(
            FailureReason.INVALID_CONFIGURATION,
            f"FlashAttention 4 does not compute on this GPU ({type(problem).__name__}: {problem}): "
            "set training.attention to torch",
        ) from problem
    if not error <= LARGEST_ERROR:  # NaN is not
        raise TrainerError(
            FailureReason.INVALID_CONFIGURATION,
            f"FlashAttention 4 gives wrong gradients on this GPU ({_off_by(error)}): set "
            "training.attention to torch",
        )


def _require_right(device: torch.device, dtype: torch.dtype) -> None:
    """Try torch's own kernels.

    Raises:
        TrainerError: ``Error``, for another start may get another GPU.
    """
    error = _largest_error(device, dtype)
    if not error <= LARGEST_ERROR:
        raise TrainerError(
            FailureReason.UNKNOWN,
            f"PyTorch's attention gives wrong gradients on this GPU ({_off_by(error)}): it may be "
            "broken; try another node",
        )


def _off_by(error: float) -> str:
    return f"a relative error of {error:.1e}, at most {LARGEST_ERROR:g} is due to rounding"


def _largest_error(device: torch.device, dtype: torch.dtype) -> float:
    errors = [gradient_error(shape, device, dtype=dtype) for shape in TRIED]
    return max(errors) if all(map(math.isfinite, errors)) else math.nan


def gradient_error(
    shape: tuple[int, int, int, int],
    device: torch.device,
    attention: Attention | None = None,
    *,
    dtype: torch.dtype = torch.bfloat16,
    sliced: bool = True,
) -> float:
    """Largest relative error of the gradients of query, key and value.

    Against attention spelt out in fp32, on random numbers that are equal in every call.

    Args:
        shape: ``[B, T, H, W]``: samples, tokens, heads, width of a head.
        device: where.
        attention: what is tried. Default: torch's, by the kernels it chooses.
        dtype: what it computes in.
        sliced: whether the output's gradient is a slice of a wider tensor, as where attention and
            the feed-forward part of a block share a projection, or a tensor of its own.
    """
    draw = torch.Generator(device).manual_seed(0)
    *inputs, weight = (torch.randn(shape, device=device, generator=draw).to(dtype) for _ in "qkvg")
    tried: Attention = attention or functional.scaled_dot_product_attention
    found = _gradients(tried, inputs, weight, sliced=sliced)
    with sdpa_kernel(SDPBackend.MATH):
        exact: Attention = functional.scaled_dot_product_attention
        expected = _gradients(exact, [x.float() for x in inputs], weight.float(), sliced=False)
    return max(float((f - e).norm() / e.norm()) for f, e in zip(found, expected, strict=True))


def _gradients(
    attention: Attention, inputs: list[Tensor], weight: Tensor, *, sliced: bool
) -> list[Tensor]:
    leaves = [tensor.detach().requires_grad_() for tensor in inputs]
    query, key, value = (leaf.transpose(1, 2) for leaf in leaves)
    out, weight = attention(query, key, value).transpose(1, 2).flatten(2), weight.flatten(2)
    if sliced:
        beside = torch.zeros_like(out).repeat(1, 1, 4)
        out, weight = torch.cat([out, beside], dim=2), torch.cat([weight, beside], dim=2)
    return [gradient.float() for gradient in torch.autograd.grad(out, leaves, weight)]


def _installed() -> bool:
    try:
        return find_spec(FLASH_4_PACKAGE) is not None
    except ImportError:  # of the package that holds it, which may be another
        return False
