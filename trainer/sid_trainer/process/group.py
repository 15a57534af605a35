"""The ranks of a run: hearing each other, and failing together.

Rules this module keeps:

* A failure of one rank becomes the same failure on all: nobody waits for a rank that has left.
* A rank that works long is waited for: what it uploads or downloads may take hours, where a
  collective of the training is stuck after minutes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, Protocol, TypeVar

from sid_trainer.contract import FailureReason, TrainerError

PATIENCE = timedelta(hours=12)
"""How long ranks wait for one another here. A rank that dies is noticed at once all the same,
as its connections close, and one that lives works for a bounded time: storage has time-outs."""

Value = TypeVar("Value")


class SharedError(TrainerError):
    """An error that every rank raises at the same place, so that they may still work together."""


class ProcessGroup(Protocol):
    """The ranks of a run."""

    @property
    def rank(self) -> int:
        """This process's place."""

    @property
    def world_size(self) -> int:
        """Number of ranks."""

    def all_gather(self, value: Any) -> list[Any]:
        """Every rank's value, by rank; a collective."""


class SoloGroup:
    """A run of one process."""

    rank = 0
    world_size = 1

    def all_gather(self, value: Any) -> list[Any]:
        """The one value."""
        return [value]


class TorchGroup:
    """All ranks of ``torch.distributed``, which must be initialised; making it is a collective.

    It has a group of its own, on the CPU, in which ranks wait for one another for :data:`PATIENCE`.
    """

    def __init__(self) -> None:
        import torch.distributed as dist  # noqa: PLC0415 - the other groups need no torch

        self._dist = dist
        self.rank: int = dist.get_rank()
        self.world_size: int = dist.get_world_size()
        self._group: Any = dist.new_group(backend="gloo", timeout=PATIENCE)

    def all_gather(self, value: Any) -> list[Any]:
        """Every rank's value, pickled; small ones only."""
        values: list[Any] = [None] * self.world_size
        self._dist.all_gather_object(values, value, group=self._group)
        return values


@dataclass(frozen=True)
class Outcome(Generic[Value]):
    """A rank's result, or why it has none. An exception itself would not survive pickling.

    Attributes:
        value: the result.
        reason: of the failure; None where there was none.
        message: of the failure.
    """

    value: Any = None
    reason: FailureReason | None = None
    message: str = ""


def together(group: ProcessGroup, work: Callable[[], Value]) -> list[Value]:
    """Run ``work`` on every rank and return all results; a collective.

    Raises:
        SharedError: on every rank, when a TrainerError was raised on one.
    """
    outcomes = group.all_gather(attempted(work))
    failed = {rank: outcome for rank, outcome in enumerate(outcomes) if outcome.reason is not None}
    for rank, outcome in failed.items():
        who = f"rank {rank}: " if len(failed) < group.world_size else ""
        raise SharedError(outcome.reason, who + outcome.message)
    return [outcome.value for outcome in outcomes]


def on_each(group: ProcessGroup, work: Callable[[], Value]) -> Value:
    """Run ``work`` on every rank, each keeping its own result; a collective.

    Raises:
        SharedError: on every rank, when a TrainerError was raised on one.
    """
    results: list[Value] = []
    together(group, lambda: results.append(work()))
    return results[0]


def from_first(group: ProcessGroup, work: Callable[[], Value]) -> Value:
    """Run ``work`` on rank 0 and return its result on every rank; a collective.

    Raises:
        SharedError: on every rank, when rank 0 raised a TrainerError.
    """
    outcome: Outcome[Value] = attempted(work) if group.rank == 0 else Outcome()
    first = group.all_gather(outcome)[0]
    if first.reason is not None:
        raise SharedError(first.reason, first.message)
    value: Value = first.value
    return value


def attempted(work: Callable[[], Value]) -> Outcome[Value]:
    """The result of ``work``, or why it has none: the TrainerError that it raised."""
    try:
        return Outcome(work())
    except TrainerError as error:
        return Outcome(reason=error.reason, message=str(error))
