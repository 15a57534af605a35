"""From host memory to the accelerator: tensors for good, modules for the length of a block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def to_device(tensor: Tensor, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """A tensor on a device.

    A copy of pageable memory would wait until the accelerator has done all that it was given. From
    pinned memory it takes its turn there; the allocator keeps the pages until it has.

    Args:
        tensor: anywhere.
        device: where it is wanted.
        dtype: in which it is wanted; converted in host memory if it comes from there.
    """
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device, dtype)
    return tensor.to(dtype=dtype or tensor.dtype).pin_memory().to(device, non_blocking=True)


@contextmanager
def on_accelerator(modules: Sequence[nn.Module], device: torch.device) -> Iterator[None]:
    """Hold modules on the accelerator for the length of a block, then in host memory again.

    They are not changed meanwhile, so nothing is copied back: the tensors at rest are kept, which
    may be pages of their files that all processes of the node share.
    """
    tables: list[dict[str, Any]] = [
        table
        for module in modules
        for owner in module.modules()
        for table in (owner._parameters, owner._buffers)
    ]
    at_rest = [
        (dict(table), [None if t is None else t.data for t in table.values()]) for table in tables
    ]
    for module in modules:
        module.to(device)
    try:
        yield
    finally:
        for table, (tensors, values) in zip(tables, at_rest, strict=True):
            for tensor, value in zip(tensors.values(), values, strict=True):
                if tensor is not None:
                    tensor.data = value
            table.update(tensors)
        if device.type == "cuda":
            torch.cuda.empty_cache()
