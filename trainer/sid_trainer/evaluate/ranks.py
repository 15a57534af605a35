"""Who evaluates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sid_trainer.engine.distributed import Place
from sid_trainer.process.group import ProcessGroup
from sid_trainer.storage import Storage


@dataclass(frozen=True)
class Ranks:
    """This rank, all ranks, and the run's folder.

    Attributes:
        place: of this rank.
        group: all of them.
        storage: the run's folder.
        alive: tells that long work goes on.
    """

    place: Place
    group: ProcessGroup
    storage: Storage
    alive: Callable[[], None] = lambda: None
