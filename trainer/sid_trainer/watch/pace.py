"""How long an iteration may take before it counts as stuck: by the pace so far. Pure.

Rules this module keeps:

* Nothing is concluded from the first iterations: until then the user's bound holds, which later is
  the upper bound.
* The slowest counts, not the mean: first use of kernels falls into some iterations only.
* The first one may have compiled for minutes. It says how long another may take that compiles
  again, and nothing of the rest.
* What is no iteration (images and prompts are fetched and encoded) neither sets the pace nor is
  held to it.
"""

from __future__ import annotations

USERS = "training.watchdogSeconds"
"""Where the user's bound comes from."""
SETTLED = 5
"""Iterations after which the pace is known."""
TIMES = 20
"""Times the slowest iteration after the first that another one may take."""
TIMES_THE_FIRST = 3
"""Times the first iteration that another one may take."""
SHORTEST = 300.0
"""Seconds that every iteration gets: a node may be slowed down by others for a while."""


class Pace:
    """Knows how long iterations took since this process began.

    Args:
        longest: bound in seconds that holds first, and is never exceeded.
    """

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._first = self._slowest = 0.0
        self._finished = 0

    def took(self, seconds: float) -> None:
        """Note that an iteration was finished in this time."""
        self._finished += 1
        if self._finished == 1:
            self._first = seconds
        else:
            self._slowest = max(self._slowest, seconds)

    @property
    def bound(self) -> float:
        """Seconds that an iteration may take now."""
        if self._finished < SETTLED:
            return self._longest
        return min(self._longest, max(SHORTEST, self._by_slowest, self._by_first))

    @property
    def told(self) -> str:
        """Where the bound comes from, in words for the user."""
        if self.bound == self._longest:
            return USERS
        if self._by_first > self._by_slowest:
            return f"the first iteration took {self._first:.1f} s"
        return f"the slowest iteration before took {self._slowest:.1f} s"

    @property
    def _by_slowest(self) -> float:
        return TIMES * self._slowest

    @property
    def _by_first(self) -> float:
        return TIMES_THE_FIRST * self._first
