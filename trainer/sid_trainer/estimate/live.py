"""Counts the bytes of tensors that are alive while code runs, and the most there ever were.

Rules this module keeps:

* Bytes are counted by storage, so views and saved copies of one tensor count once, from the
  operation that makes it until its last reference is gone, autograd's included.
* It is exact and works on any device; on ``meta`` a network of any size takes no memory.
* What existed before is not counted: weights have an account of their own.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A context in which every operation's results are counted.

    Attributes:
        live: bytes alive now.
        peak: the most that were alive at a time, since the start or :meth:`reset`.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = 0
        self.peak = 0
        self._counted = WeakIdKeyDictionary(ref_type=weakref.ref)

    def ignore(self, module: torch.nn.Module) -> Self:
        """Leave a module's weights and buffers out."""
        for tensor in (*module.parameters(), *module.buffers()):
            self._counted[tensor.untyped_storage()] = True
        return self

    def reset(self) -> None:
        """Begin a new peak at what is alive now."""
        self.peak = self.live

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for output in result if isinstance(result, tuple | list) else (result,):
            if isinstance(output, Tensor):
                self._count(output)
        return result

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage in self._counted:
            return
        self._counted[storage] = True
        size = storage.nbytes()
        weakref.finalize(storage, self._release, size)
        self.live += size
        self.peak = max(self.peak, self.live)

    def _release(self, size: int) -> None:
        self.live -= size
