"""Heartbeats of all ranks, in the store through which they met.

The store's connection is one of its own: the main thread may be blocked in the shared one.
"""

from __future__ import annotations

from typing import Any

import torch.distributed as dist

from sid_trainer.watch.stall import UNHEARD, Heartbeat


class Heartbeats:
    """Tells the other ranks of this one, and hears of them. Either may block for long."""

    def __init__(self) -> None:
        self._rank, self._world = dist.get_rank(), dist.get_world_size()
        self._store: Any = dist.distributed_c10d._get_default_store().clone()

    def tell(self, beat: Heartbeat) -> None:
        """Leave word of this rank."""
        self._store.set(_key(self._rank), beat.encoded())

    def hear(self) -> list[Heartbeat]:
        """What each rank has told last, by rank; :data:`UNHEARD` for one that never has."""
        keys = [_key(rank) for rank in range(self._world)]
        return [
            Heartbeat.decoded(self._store.get(key)) if self._store.check([key]) else UNHEARD
            for key in keys
        ]


def _key(rank: int) -> str:
    return f"sid-heartbeat/{rank}"


def collectives_begun() -> int:
    """Collective operations that this rank has begun in the group of all."""
    group: Any = dist.distributed_c10d._get_default_group()
    return int(group._get_sequence_number_for_group())
