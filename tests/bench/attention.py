"""Whether a GPU's attention kernels give the right gradients: a check that speed comes after.

The trainer switches cuDNN's off (:func:`sid_trainer.engine.distributed.trust_no_cudnn_attention`).
This tells of the versions at hand whether that is still needed, and that flash may be trusted.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from tests.bench import ranks
from tests.bench.report import Section

SHAPES = {"FLUX.1-dev": (2, 4608, 24, 128), "SD3.5-Medium": (2, 4429, 24, 64)}
"""Batch, tokens, heads, width of a head."""
KERNELS = {"flash": SDPBackend.FLASH_ATTENTION, "cuDNN": SDPBackend.CUDNN_ATTENTION}
GRADIENTS = ("whole", "sliced")


def section() -> Section:
    """Measure every kernel in a process of its own: a wrong one may take its process along."""
    rows = []
    for kernel in KERNELS:
        for name in SHAPES:
            for gradient in GRADIENTS:
                try:
                    arguments = {"kernel": kernel, "name": name, "gradient": gradient}
                    told = f"{ranks.run('attention', 'cuda', **arguments):.1e}"
                except RuntimeError as error:
                    told = str(error).strip().splitlines()[-1][:100]
                rows.append((kernel, name, gradient, told))
    return Section(
        "Gradients of attention",
        "Largest relative error of the gradients of query, key and value in bf16 against attention "
        "spelt out in fp32. Rounding to bf16 alone is some 3e-3. The gradient of the output is a "
        "tensor of its own, or a slice of a wider one, as where attention and the feed-forward "
        "part of a block share a projection.",
        ("kernel", "shape of", "gradient of the output", "relative error"),
        rows,
    )


def on_rank(device: str, kernel: str, name: str, gradient: str) -> float:
    """Largest relative error of one kernel."""
    torch.manual_seed(0)
    batch, tokens, heads, width = SHAPES[name]
    drawn = [torch.randn(batch, tokens, heads, width, device=device) for _ in range(4)]
    inputs = [tensor.bfloat16() for tensor in drawn]
    with sdpa_kernel(KERNELS[kernel]):
        found = _gradients(inputs, sliced=gradient == "sliced")
    with sdpa_kernel(SDPBackend.MATH):
        expected = _gradients([tensor.float() for tensor in inputs], sliced=False)
    return max(float((f - e).norm() / e.norm()) for f, e in zip(found, expected, strict=True))


def _gradients(inputs: list[Tensor], *, sliced: bool) -> list[Any]:
    *given, weight = inputs
    leaves = [tensor.detach().requires_grad_() for tensor in given]
    out = functional.scaled_dot_product_attention(*(x.transpose(1, 2) for x in leaves))
    out, weight = out.transpose(1, 2).flatten(2), weight.flatten(2)
    if sliced:
        beside = torch.zeros_like(out).repeat(1, 1, 4)
        out, weight = torch.cat([out, beside], dim=2), torch.cat([weight, beside], dim=2)
    out.backward(weight)  # type: ignore[no-untyped-call]
    return [leaf.grad.float() for leaf in leaves if leaf.grad is not None]
