"""Which rank the others wait for: a pure judgement of the ranks' heartbeats.

A rank that hangs stops all: each of the others waits in a collective operation that it has not
begun. So the rank that has begun the fewest is the one that is waited for. A rank whose threads do
not run at all (its process is stopped, its node is gone) is told by its heart, which does not beat.
One that is at something that may still take longer is waited for: it fetches images, say, or began
later.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Heartbeat:
    """What a rank tells of itself every few seconds, from a thread of its own.

    Attributes:
        beats: how often it has told.
        tasks: tasks (iterations and the like) that its main thread has begun.
        collectives: collective operations that its main thread has begun.
        task: what it is at: ``iteration 120``.
        in_time: whether that may still take longer. What is no task is never in time: nobody knows
            how long it may take.
    """

    beats: int
    tasks: int
    collectives: int
    task: str
    in_time: bool = False

    def encoded(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def decoded(cls, text: str | bytes) -> Heartbeat:
        """From :meth:`encoded`."""
        return cls(**json.loads(text))


UNHEARD = Heartbeat(0, 0, 0, "")
"""In place of the heartbeat of a rank that has never told of itself."""


@dataclass(frozen=True)
class Judgement:
    """Who is waited for.

    Attributes:
        ranks: those that the others wait for; empty where none can be told from the others.
        message: the same in words, for the user.
    """

    ranks: tuple[int, ...]
    message: str

    def concerns(self, rank: int, per_node: int) -> bool:
        """Whether a rank that hangs is in this rank's pod; it is the first where none is known."""
        return rank // per_node in {other // per_node for other in self.ranks or (0,)}

    def encoded(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def decoded(cls, text: str | bytes) -> Judgement:
        """From :meth:`encoded`."""
        data: dict[str, Any] = json.loads(text)
        return cls(tuple(data["ranks"]), data["message"])


def judge_stall(before: Sequence[Heartbeat], after: Sequence[Heartbeat]) -> Judgement | None:
    """Tell who hangs from the heartbeats of all ranks, by rank, at two times.

    Args:
        before: when it was noticed that nothing moves.
        after: a few heartbeats later.

    Returns:
        The judgement, or None as long as one that is waited for is in time.
    """
    living = [beat for rank, beat in enumerate(after) if beat.beats != before[rank].beats]
    silent = [rank for rank, beat in enumerate(after) if beat.beats == before[rank].beats]
    if silent and living:
        # Their own last word may be older than what they were doing when they stopped.
        task = min(living, key=lambda beat: beat.tasks).task
        note = "not responding: stopped, or the node is gone"
        return _waited_for(silent, len(after), task, note)
    places = [(beat.tasks, beat.collectives) for beat in after]
    last = [rank for rank, place in enumerate(places) if place == min(places)]
    if any(after[rank].in_time for rank in last):
        return None
    if len(last) < len(after) or len(after) == 1:
        note = "the stacks of its threads are in the log of its pod"
        task = after[last[0]].task or "what comes between its tasks"
        return _waited_for(last, len(after), task, note)
    return Judgement(
        (),
        f"no rank has finished {after[0].task}, and all are at the same operation: look at the "
        "network between the nodes, and at the GPUs",
    )


def store_is_silent(task: str) -> Judgement:
    """The judgement where not even the heartbeats can be read, which are kept at rank 0."""
    return Judgement(
        (0,), f"rank 0 has not finished {task} (not responding: stopped, or the node is gone)"
    )


def _waited_for(ranks: Sequence[int], world: int, task: str, note: str) -> Judgement:
    names = ", ".join(str(rank) for rank in ranks)
    who = f"rank {names} has" if len(ranks) == 1 else f"ranks {names} have"
    others = "; the others wait" if len(ranks) < world else ""
    return Judgement(tuple(ranks), f"{who} not finished {task} ({note}){others}")
