"""How long a pod goes on launching its workers again: a pure count.

Rules this module keeps:

* Waiting is bounded in time: without a group for long enough, the pod gives up and says so.
* Breaking is bounded in number: only a new committed checkpoint makes the count start anew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sid_trainer.launch.settings import LaunchSettings


@dataclass(frozen=True)
class Budget:
    """State of the count.

    Attributes:
        since: clock reading in seconds since when there has been no group.
        relaunches: launches in place since the last new checkpoint.
        checkpoint: iteration of the newest committed checkpoint, or None.
    """

    since: float
    relaunches: int = 0
    checkpoint: int | None = None

    def after_launch(self, now: float, formed: bool, checkpoint: int | None) -> Budget:
        """The count after a launch that has to be repeated.

        A launch that formed no group spends time, one that did spends a relaunch.
        """
        known = -1 if self.checkpoint is None else self.checkpoint
        if checkpoint is not None and checkpoint > known:
            return Budget(since=now, relaunches=1, checkpoint=checkpoint)
        if formed:
            return replace(self, since=now, relaunches=self.relaunches + 1)
        return self

    def seconds_left(self, now: float, settings: LaunchSettings) -> float:
        """Seconds that are left to form a group."""
        return settings.group_seconds - (now - self.since)

    def exhausted(self, now: float, settings: LaunchSettings) -> str | None:
        """Why the pod has to give up, or None."""
        if self.relaunches > settings.max_relaunches:
            return (
                f"the group of all ranks broke {self.relaunches} times without a new checkpoint: "
                "look at the network between the nodes, or lower checkpoint.everyIterations"
            )
        if self.seconds_left(now, settings) <= 0:
            return (
                f"no group of all nodes was formed within {settings.group_seconds:.0f} s: look for "
                "pods of this run that are pending or failing"
            )
        return None
