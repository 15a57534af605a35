"""Heartbeats of all ranks, in the store through which they met.

The store's connection is one of its own: the main thread may be blocked in the shared one.
"""

from __future__ import annotations

from typing import Any

import torch.distributed as dist

from sid_trainer.watch.stall import UNHEARD, Heartbeat, Judgement

_VERDICT = "sid-stalled"


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

    def agree(self, own: Judgement | None) -> Judgement | None:
        """The judgement that holds for all ranks, which is the first that one of them came to.

        Args:
            own: what this rank came to, if it has.
        """
        if own is not None:
            return Judgement.decoded(self._store.compare_set(_VERDICT, "", own.encoded()))
        told = self._store.check([_VERDICT])
        return Judgement.decoded(self._store.get(_VERDICT)) if told else None


def _key(rank: int) -> str:
    return f"sid-heartbeat/{rank}"


def collectives_begun() -> int:
    """Collective operations that this rank has begun, in all groups that hold all ranks.

    There are several: ranks wait for one another's data in another than that of the weights
    (:class:`~sid_trainer.process.group.TorchGroup`), and gradients have one of their own.
    """
    groups: list[Any] = list(dist.distributed_c10d._world.pg_map)
    world = dist.get_world_size()
    return sum(g._get_sequence_number_for_group() for g in groups if g.size() == world)
