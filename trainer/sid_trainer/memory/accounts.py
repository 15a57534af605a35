"""What an account of memory consists of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

GIB = 2**30
RESERVE = int(2.5 * GIB)
"""Assumed on each GPU: CUDA's context and kernels, NCCL's buffers, libraries' workspaces."""
BOUND = 1.4
"""How many times the true size of a phase its estimate may be: gathered weights are a bound."""


@dataclass(frozen=True)
class Part:
    """One thing that takes memory.

    Attributes:
        name: what it is.
        size: bytes.
    """

    name: str
    size: int


@dataclass(frozen=True)
class Account:
    """Parts that are there together."""

    name: str
    parts: Sequence[Part]

    @property
    def size(self) -> int:
        """Bytes of all parts."""
        return sum(part.size for part in self.parts)


@dataclass(frozen=True)
class GpuNeed:
    """What a run needs on each GPU.

    Attributes:
        resident: all the time.
        phases: besides, one after the other; the largest counts.
    """

    resident: Account
    phases: Sequence[Account]

    @property
    def largest_phase(self) -> Account:
        """The phase that takes most."""
        return max(self.phases, key=lambda phase: phase.size)

    @property
    def per_gpu(self) -> int:
        """Bytes that each GPU needs at the worst moment."""
        return self.resident.size + self.largest_phase.size

    @property
    def certain(self) -> int:
        """Bytes below which the run cannot go, however far the estimate is off upwards.

        Without the reserve, which is assumed, and with the phase as small as it may be.
        """
        return self.resident.size - RESERVE + int(self.largest_phase.size / BOUND)

    def fits(self, capacity: int) -> bool:
        """Whether a GPU of ``capacity`` bytes is enough."""
        return self.per_gpu <= capacity
