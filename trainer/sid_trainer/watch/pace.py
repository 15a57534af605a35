"""How long an iteration may take before it counts as stuck: by the pace so far. Pure.

Rules this module keeps:

* Nothing is concluded from the first iterations: until then the user's bound holds, which later is
  the upper bound.
* The slowest counts, not the mean: compiling and first use of kernels fall into some iterations
  only.
* What is no iteration (images and prompts are fetched and encoded) neither sets the pace nor is
  held to it.
"""

from __future__ import annotations

USERS = "training.watchdogSeconds"
"""Where the user's bound comes from."""
SETTLED = 5
"""Iterations after which the pace is known."""
TIMES = 20
"""Times the slowest iteration so far that another one may take."""
SHORTEST = 300.0
"""Seconds that every iteration gets: a node may be slowed down by others for a while."""


class Pace:
    """Knows how long iterations took since this process began.

    Args:
        longest: bound in seconds that holds first, and is never exceeded.
    """

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._slowest = 0.0
        self._finished = 0

    def took(self, seconds: float) -> None:
        """Note that an iteration was finished in this time."""
        self._finished += 1
        self._slowest = max(self._slowest, seconds)

    @property
    def bound(self) -> float:
        """Seconds that an iteration may take now."""
        if self._finished < SETTLED:
            return self._longest
        return min(self._longest, max(SHORTEST, TIMES * self._slowest))

    @property
    def told(self) -> str:
        """Where the bound comes from, in words for the user."""
        if self.bound == self._longest:
            return USERS
        return f"the slowest iteration before took {self._slowest:.1f} s"
