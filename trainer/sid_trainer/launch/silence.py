"""Which workers of this pod show no sign of life any more, though their processes are there.

Torchrun ends workers itself where it forms the group anew: for the replacement of a pod that
vanished it starts them again within one launch. The sign that such a worker left last grows old
while torchrun waits for other nodes, and while the next worker loads, and says nothing of them.
"""

from __future__ import annotations

import os

from sid_trainer.launch.processes import descendants
from sid_trainer.process.run_directory import Pulse, RunDirectory


def silent_workers(directory: RunDirectory, now: float) -> list[Pulse]:
    """The last signs of processes below this one whose next sign is overdue, by rank.

    Args:
        directory: where workers leave their signs.
        now: reading of the machine's monotonic clock, in seconds.
    """
    overdue = directory.silent(now)
    here = set(descendants(os.getpid())) if overdue else set()
    return [pulse for pulse in overdue if pulse.pid in here]
