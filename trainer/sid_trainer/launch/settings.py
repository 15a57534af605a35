"""How patient the launcher is. Every number says its unit and its reason."""

from __future__ import annotations

import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class LaunchSettings:
    """Settings of the launcher that are not the user's.

    Attributes:
        worker: Program and arguments that torchrun starts on each process; ``--config FILE`` is
            appended.
        group_seconds: Time without a group of all nodes after which the pod gives up with exit
            code 80. Half an hour: a replacement pod may have to wait for a new node and to pull a
            large image. Torchrun waits as long by itself before, where it forms a group anew within
            a launch.
        max_relaunches: Launches in place without a new committed checkpoint after which the pod
            gives up. Ten: a network that breaks that often between two checkpoints needs a person.
        first_pause: Seconds before the first relaunch: the peer's failure is told before its port
            is free again. Each further pause is twice as long.
        longest_pause: Upper bound of such a pause in seconds; a replacement pod is joined at most
            this much later than it could be.
        grace_seconds: Time that workers get to end on SIGTERM before they are killed.
        margin_seconds: Part of the pod's grace period (``launch.graceSeconds``) that is not given
            to a last checkpoint: what ending takes afterwards, the message included. Longer than
            ``grace_seconds`` and twice the time that killed workers get to be gone then.
        store_seconds: Time-out of one request to the rendezvous store; a node 0 that is gone is
            noticed after it, and its name resolved again.
    """

    worker: tuple[str, ...] = ("-m", "sid_trainer", "worker")
    python: str = sys.executable
    group_seconds: float = 1800.0
    max_relaunches: int = 10
    first_pause: float = 1.0
    longest_pause: float = 15.0
    grace_seconds: float = 5.0
    margin_seconds: float = 10.0
    store_seconds: int = 60

    def pause(self, relaunches: int) -> float:
        """Seconds to wait before the given relaunch (1 is the first)."""
        return min(self.longest_pause, self.first_pause * 2.0 ** (relaunches - 1))
