"""From host memory to the accelerator, without waiting for what it is doing."""

from __future__ import annotations

import torch
from torch import Tensor


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
