"""Which request meets which fault: drawn from a seed, so that a campaign can be repeated.

Rules this module keeps:

* A fault belongs to the number of a request, not to a time: kills hit uploads, commits and clean-up
  as often as these make requests.
* What is drawn for one request does not depend on what others met.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Mapping
from dataclasses import dataclass


class Kind(enum.StrEnum):
    """What goes wrong."""

    LATENCY = "latency"
    ERROR_500 = "500"
    ERROR_503 = "503"
    PAGE_503 = "503 of a load balancer"
    RESET_REQUEST = "reset while sending"
    RESET_ANSWER = "reset while answering"
    TRUNCATED = "truncated answer"
    STALL = "stalled connection"
    KILL_RANK = "kill -9 of a rank"
    KILL_POD = "kill -9 of a pod"
    EVICT_POD = "SIGTERM to a pod"
    KILL_STORE = "kill -9 of the store"


NETWORK = (
    Kind.LATENCY,
    Kind.ERROR_500,
    Kind.ERROR_503,
    Kind.PAGE_503,
    Kind.RESET_REQUEST,
    Kind.RESET_ANSWER,
    Kind.TRUNCATED,
    Kind.STALL,
)
KILLS = (Kind.KILL_RANK, Kind.KILL_POD, Kind.EVICT_POD, Kind.KILL_STORE)


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        kind: what goes wrong.
        share: how much of a body passes before it does.
        seconds: of a delay, a stall, or the store's absence.
        target: which rank or pod, modulo how many there are.
    """

    kind: Kind
    share: float
    seconds: float
    target: int


@dataclass(frozen=True)
class Schedule:
    """The faults of a run.

    Args:
        seed: another seed is another run.
        rate: share of requests that meet a fault of the network.
        kills: how many of each kind.
        requests: numbers of requests between which the kills are spread.
        longest: bounds the seconds of a delay, a stall and the store's absence.
    """

    seed: int
    rate: float
    kills: Mapping[Kind, int]
    requests: tuple[int, int]
    longest: float = 3.0

    def at(self, number: int) -> Fault | None:
        """What the request with this number meets."""
        rng = random.Random(f"{self.seed} {number}")
        kind = self._kills().get(number)
        if kind is None and rng.random() < self.rate:
            kind = rng.choice(NETWORK)
        if kind is None:
            return None
        seconds = rng.uniform(0.05, 0.3) if kind is Kind.LATENCY else rng.uniform(0.3, self.longest)
        return Fault(kind, rng.random(), seconds, rng.randrange(64))

    def _kills(self) -> dict[int, Kind]:
        rng = random.Random(f"{self.seed} kills")
        kinds = [kind for kind in KILLS for _ in range(self.kills.get(kind, 0))]
        return dict(zip(rng.sample(range(*self.requests), len(kinds)), kinds, strict=True))
