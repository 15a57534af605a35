"""Where a program waits for its device: watched on any machine, on fake or real tensors.

Reading a number of the device (``item``, ``bool``, ``tolist``) waits for all work before it; so
does a copy between host and device unless it is of pinned memory and says ``non_blocking``.
DeepSpeed asks its accelerator to wait for the whole device, which a CPU's has as well.
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_READS = {
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.equal.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten.masked_select.default,
}


class HostWatch(TorchDispatchMode):
    """Counts what waits, by the line that asked for it.

    Attributes:
        places: ``package/module.py: function`` to how often it waited.
    """

    def __init__(self, packages: Sequence[str] = ("sid_trainer", "diffusers", "deepspeed")) -> None:
        super().__init__()
        self._packages = packages
        self.places: Counter[str] = Counter()

    def __enter__(self) -> Self:
        super().__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in _READS or _blocking_copy(func, args, kwargs):
            self.places[f"{self._place()} ({func.overloadpacket.__name__})"] += 1
        return func(*args, **kwargs)

    def whole_device(self, accelerator: Any) -> mock._patch[Any]:
        """Within it, waits for all work of DeepSpeed's accelerator are counted as well."""
        synchronize = accelerator.synchronize

        def counted(*args: Any) -> None:
            self.places[f"{self._place()} (whole device)"] += 1
            synchronize(*args)

        return mock.patch.object(accelerator, "synchronize", counted)

    def _place(self) -> str:
        """The innermost frame of the packages; else the innermost but this module's."""
        frames = traceback.extract_stack()
        for frame in reversed(frames):
            for package in self._packages:
                _, found, inside = frame.filename.rpartition(f"/{package}/")
                if found:
                    return f"{package}/{inside}: {frame.name}"
        return "elsewhere"


def _blocking_copy(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    if func is torch.ops.aten._to_copy.default:
        devices = {args[0].device.type, torch.device(kwargs.get("device") or args[0].device).type}
        waits = not kwargs.get("non_blocking", False)
    elif func is torch.ops.aten.copy_.default and isinstance(args[1], Tensor):
        devices = {args[0].device.type, args[1].device.type}
        waits = not (args[2] if len(args) > 2 else kwargs.get("non_blocking", False))
    else:
        return False
    return len(devices) > 1 and waits
