"""The repeated blocks of a network: which they are, and how they are compiled.

Rules this module keeps:

* No DeepSpeed: memory is estimated with it, too.
* A block is compiled inside the hooks of ZeRO-3 by
  :func:`sid_trainer.engine.partition.gather_whole`: what is compiled sees whole weights, and no
  Python of others.
* Attention with a mask stays as written: what torch 2.11 compiles of its backward pass fails on a
  GPU when the text's length is no multiple of 8 ("last dimension must be contiguous"). Of the
  networks here only SANA's cross-attention has one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

WAYS = 64
"""Most ways in which one kind of block is compiled; torch's own limit is 8, then it gives up."""


def blocks(network: nn.Module) -> Iterator[nn.Module]:
    """The layers of a diffusers transformer, of every kind that it has."""
    for child in network.children():
        if isinstance(child, nn.ModuleList):
            yield from child


def largest_gather(network: nn.Module, numel: Callable[[Any], int]) -> int:
    """Most weights that are gathered at once: a block's, or the own ones of a module outside.

    Args:
        network: the network.
        numel: of a parameter; a partitioned one has its own way to tell.
    """
    return max(sum(map(numel, owned)) for owned in _gathered_at_once(network))


def _gathered_at_once(network: nn.Module) -> Iterator[Iterator[Any]]:
    for block in blocks(network):
        yield block.parameters()
    for owner in network.modules():
        yield owner.parameters(recurse=False)


def compile_each(network: nn.Module) -> None:
    """Have torch compile each block's forward when it is first called.

    Blocks of one kind share what is compiled, once for each way in which they are used: with and
    without gradients of weights and inputs, and for each number of samples.
    """
    torch._dynamo.config.recompile_limit = WAYS
    for block in blocks(network):
        for module in block.modules():
            if getattr(module, "is_cross_attention", False):
                module.forward = torch.compiler.disable(module.forward)  # type: ignore[no-untyped-call]
        block.forward = torch.compile(block.forward, dynamic=False)
