"""Which kernels compute attention on a GPU, and whether they can be trusted.

Rules this module keeps:

* Never cuDNN's. Where the gradient of attention's output is a slice of a wider tensor, as in
  FLUX.1's single blocks, its backward pass gives gradients with a relative error of 1, and in
  training an illegal memory access (torch 2.11, cuDNN 9.19, H200). It also gives NaN for some masks
  (pytorch issue 196678).
* Whatever is chosen is tried on the GPU at hand before anything is trained: a wrong kernel says
  nothing, and costs the whole run.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from importlib.util import find_spec

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, activate_flash_attention_impl, sdpa_kernel

from sid_trainer.config import AttentionKernels
from sid_trainer.contract import FailureReason, TrainerError

logger = logging.getLogger(__name__)

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Query, key and value, ``[B, H, T, W]`` each, to the output of the same shape."""

FLASH_4_GENERATIONS = {9: "Hopper", 10: "Blackwell"}
"""Major compute capabilities for which torch hands attention to FlashAttention 4."""
FLASH_4_PACKAGE = "flash_attn.cute"
TRIED = ((1, 1000, 2, 64), (1, 1000, 2, 128))
"""``[B, T, H, W]`` of the trials: heads of SD3's and of FLUX.1's width, a ragged length."""
LARGEST_ERROR = 2e-2
"""Of a gradient, relative. Rounding to bf16 makes 2.4e-3; the wrong kernels that were met, 1."""


def choose_attention(asked: AttentionKernels, device: torch.device) -> None:
    """Have attention computed by the kernels that the user asked for, and try them.

    Args:
        asked: ``training.attention``.
        device: this rank's. On a CPU there is nothing to choose.

    Raises:
        TrainerError: ``InvalidConfiguration`` when FlashAttention 4 is asked for and is not for
            this device, is not installed, or does not compute here; ``NumericalError`` when torch's
            own kernels give wrong gradients.
    """
    capability = torch.cuda.get_device_capability(device) if device.type == "cuda" else None
    flash_4 = takes_flash_4(asked, capability, installed=_installed())
    if capability is None:
        return
    torch.backends.cuda.enable_cudnn_sdp(False)
    if flash_4:
        # Its compiler warns of an argument of its own, once for each kernel.
        warnings.filterwarnings("ignore", "Argument aux_data", UserWarning)
        activate_flash_attention_impl("FA4")
    logger.info("attention: %s", "FlashAttention 4" if flash_4 else "PyTorch's own kernels")
    require_right_gradients(device, flash_4=flash_4)


def takes_flash_4(
    asked: AttentionKernels, capability: tuple[int, int] | None, *, installed: bool
) -> bool:
    """Whether attention is FlashAttention 4's.

    Args:
        asked: ``training.attention``.
        capability: the GPU's compute capability; none is a CPU.
        installed: whether the package is.

    Raises:
        TrainerError: ``InvalidConfiguration`` when it is asked for and cannot be had.
    """
    fits = capability is not None and capability[0] in FLASH_4_GENERATIONS
    if asked != "flash-4":
        return asked == "auto" and fits and installed
    if not fits:
        here = "a CPU" if capability is None else "of {}.{}".format(*capability)
        generations = " and ".join(f"{n}.x ({g})" for n, g in FLASH_4_GENERATIONS.items())
        raise TrainerError(
            FailureReason.INVALID_CONFIGURATION,
            f"training.attention is flash-4, which is for GPUs of compute capability {generations}"
            f"; this one is {here}: use auto",
        )
    if not installed:
        raise TrainerError(
            FailureReason.INVALID_CONFIGURATION,
            "training.attention is flash-4, but the package flash-attn-4 is not installed: it is a "
            "part of the trainer's requirements on Linux; without it use auto",
        )
    return True


def require_right_gradients(device: torch.device, *, flash_4: bool) -> None:
    """Try attention on small tensors.

    Raises:
        TrainerError: ``InvalidConfiguration`` or ``NumericalError``, see :func:`choose_attention`.
    """
    try:
        error = max(gradient_error(shape, device) for shape in TRIED)
    except Exception as problem:
        if not flash_4:
            raise
        raise TrainerError(
            FailureReason.INVALID_CONFIGURATION,
            f"FlashAttention 4 does not compute on this GPU ({type(problem).__name__}: {problem}): "
            "set training.attention to torch",
        ) from problem
    if error <= LARGEST_ERROR:  # NaN is not
        return
    if flash_4:
        raise TrainerError(
            FailureReason.INVALID_CONFIGURATION,
            f"FlashAttention 4 gives wrong gradients on this GPU (a relative error of {error:.1e}, "
            f"at most {LARGEST_ERROR:g} is due to rounding): set training.attention to torch",
        )
    raise TrainerError(
        FailureReason.NUMERICAL_ERROR,
        f"PyTorch's attention gives wrong gradients on this device (a relative error of "
        f"{error:.1e}, at most {LARGEST_ERROR:g} is due to rounding): the GPU may be broken; try "
        "another node",
    )


def gradient_error(
    shape: tuple[int, int, int, int],
    device: torch.device,
    attention: Attention | None = None,
    *,
    sliced: bool = True,
) -> float:
    """Largest relative error of the gradients of query, key and value in bf16.

    Against attention spelt out in fp32, on random numbers that are equal in every call.

    Args:
        shape: ``[B, T, H, W]``: samples, tokens, heads, width of a head.
        device: where.
        attention: what is tried. Default: torch's, by the kernels it chooses.
        sliced: whether the output's gradient is a slice of a wider tensor, as where attention and
            the feed-forward part of a block share a projection, or a tensor of its own.
    """
    draw = torch.Generator(device).manual_seed(0)
    *inputs, weight = (torch.randn(shape, device=device, generator=draw).bfloat16() for _ in "qkvg")
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
    except ModuleNotFoundError:  # of the package that holds it
        return False
