"""Whether a GPU's attention kernels give the right gradients: a check that speed comes after.

The trainer never takes cuDNN's, and tries what it takes (:mod:`sid_trainer.engine.attention`). This
tells of the versions at hand whether cuDNN's may be trusted by now, and how fast each is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, activate_flash_attention_impl, sdpa_kernel

from sid_trainer.engine.attention import gradient_error
from tests.bench import ranks
from tests.bench.accelerator import MATRIX, product_seconds
from tests.bench.clocks import clocks
from tests.bench.report import Section

SHAPES = {"FLUX.1-dev": (4, 4608, 24, 128), "SD3.5-Medium": (8, 4429, 24, 64)}
"""Batch, tokens, heads, width of a head."""
KERNELS = {
    "FlashAttention 2": SDPBackend.FLASH_ATTENTION,
    "FlashAttention 4": SDPBackend.FLASH_ATTENTION,
    "cuDNN": SDPBackend.CUDNN_ATTENTION,
}
REPETITIONS = 10


def section() -> Section:
    """Measure every kernel in a process of its own: a wrong one may take its process along."""
    rows = []
    for kernel in KERNELS:
        for name in SHAPES:
            try:
                found = ranks.run("attention", "cuda", kernel=kernel, name=name)
                told = [f"{found[what]:{form}}" for what, form in _COLUMNS.items()]
            except RuntimeError as error:
                told = [str(error).strip().splitlines()[-1][:100], *[""] * (len(_COLUMNS) - 1)]
            rows.append((kernel, name, *told))
    return Section(
        "Attention",
        "Largest relative error of the gradients of query, key and value in bf16 against attention "
        "spelt out in fp32; rounding to bf16 alone is some 3e-3. The gradient of the output is a "
        "tensor of its own, or a slice of a wider one, as where attention and the feed-forward "
        "part of a block share a projection. Speed is in operations of a matrix product of "
        f"{MATRIX} x {MATRIX}, the backward pass counted as twice the forward.",
        ("kernels", "shape of", *_COLUMNS),
        rows,
    )


_COLUMNS = {
    "error, whole": ".1e",
    "error, sliced": ".1e",
    "speed, forward": ".2f",
    "speed, backward": ".2f",
}


def on_rank(device: str, kernel: str, name: str) -> dict[str, float]:
    """Errors and speed of one kernel, by the names of the columns."""
    if kernel == "FlashAttention 4":
        activate_flash_attention_impl("FA4")
    shape, on = SHAPES[name], torch.device(device)
    small = (2, *shape[1:])  # fp32 scores of all heads must fit

    def attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        with sdpa_kernel(KERNELS[kernel]):
            return functional.scaled_dot_product_attention(query, key, value)

    errors = [gradient_error(small, on, attention, sliced=sliced) for sliced in (False, True)]
    return dict(zip(_COLUMNS, (*errors, *_speeds(attention, shape)), strict=True))


def _speeds(attention: Callable[..., Tensor], shape: tuple[int, ...]) -> tuple[float, float]:
    batch, tokens, heads, width = shape
    drawn: list[Any] = [torch.randn(shape, device="cuda").bfloat16() for _ in range(4)]
    *inputs, gradient = [tensor.transpose(1, 2) for tensor in drawn]
    product = 2 * MATRIX**3 / product_seconds()
    work = 4 * batch * heads * tokens**2 * width
    forward = work / _seconds(lambda: attention(*inputs))
    leaves = [tensor.requires_grad_() for tensor in inputs]
    out = attention(*leaves)
    backward = (
        2 * work / _seconds(lambda: torch.autograd.grad(out, leaves, gradient, retain_graph=True))
    )
    return forward / product, backward / product


def _seconds(work: Callable[[], object]) -> float:
    work()
    since = clocks()[0]
    for _ in range(REPETITIONS):
        work()
    return (clocks()[0] - since) / REPETITIONS
