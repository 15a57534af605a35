"""Counts the bytes of tensors that are alive while code runs, and the most there ever were.

Rules this module keeps:

* Bytes are counted by storage, so views and saved copies of one tensor count once, from the
  operation that makes it until its last reference is gone, autograd's included.
* It is exact and works on any device; on ``meta`` a network of any size takes no memory.
* What existed before is not counted: weights have an account of their own.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping
from typing import Any, Self

from torch import Tensor, UntypedStorage
from torch.utils._python_dispatch import TorchDispatchMode


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
        self._known: dict[int, weakref.ref[UntypedStorage]] = {}

    def ignore(self, tensors: Iterable[Tensor]) -> Self:
        """Leave out what exists already, such as weights."""
        for tensor in tensors:
            self._watch(tensor.untyped_storage(), 0)
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
                self._count(output.untyped_storage())
        return result

    def _count(self, storage: UntypedStorage) -> None:
        if id(storage) not in self._known:
            size = storage.nbytes()
            self._watch(storage, size)
            self.live += size
            self.peak = max(self.peak, self.live)

    def _watch(self, storage: UntypedStorage, size: int) -> None:
        """Remember a storage until it is gone. Torch keeps one Python object a storage."""
        at = id(storage)

        def gone(_: object) -> None:
            del self._known[at]
            self.live -= size

        self._known[at] = weakref.ref(storage, gone)
