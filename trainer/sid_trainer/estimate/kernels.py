"""What the trainer's own kernels keep for the backward pass, where ``meta`` would take others.

Two operations keep other tensors in a training pod than plain PyTorch does on ``meta``:

* ``linear``: ZeRO-3 replaces it by a function that keeps input and weight, also where the weight
  is frozen and plain autograd would not need the input (``deepspeed.runtime.zero.linear``). Where
  activations are recomputed it is torch's own, which keeps less, of one block: counted alike.
* ``scaled_dot_product_attention``: on ``meta`` it is spelt out and keeps every score. The fused
  kernels of GPUs (flash, memory-efficient) and of CPUs keep query, key, value, output and one fp32
  number a row; the backward pass sums the query's gradient in fp32.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        out = x.matmul(weight.t())
        if bias is not None:
            out += bias
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        for_x, for_weight, for_bias = ctx.needs_input_grad
        rows = grad.reshape(-1, grad.shape[-1])
        return (
            grad.matmul(weight) if for_x else None,
            rows.t().matmul(x.reshape(-1, x.shape[-1])) if for_weight else None,
            rows.sum(0) if for_bias else None,
        )


class _Attention(torch.autograd.Function):
    """Shapes as fused attention's; the values are not computed."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        out = query.new_empty(*query.shape[:-1], value.shape[-1])
        sums = query.new_empty(query.shape[:-1], dtype=torch.float32)
        ctx.save_for_backward(query, key, value, out, sums)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        query, key, value, _, _ = ctx.saved_tensors
        sums = torch.empty_like(query, dtype=torch.float32)
        gradients = (sums.to(query.dtype), torch.empty_like(key), torch.empty_like(value))
        del sums
        return gradients


@contextmanager
def training_kernels() -> Iterator[None]:
    """Within the block both operations keep what they keep in training. For ``meta`` only."""
    plain = functional.linear, functional.scaled_dot_product_attention
    functional.linear = _linear  # type: ignore[assignment]
    functional.scaled_dot_product_attention = _attention
    try:
        yield
    finally:
        functional.linear, functional.scaled_dot_product_attention = plain


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    out: Tensor = _Linear.apply(x, weight, bias)
    return out


def _attention(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Tensor:
    out: Tensor = _Attention.apply(query, key, value)
    return out
