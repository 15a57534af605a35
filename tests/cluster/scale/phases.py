"""What is done to a contender, and what is measured of it meanwhile."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.cluster.control_plane.api import Api
from tests.cluster.scale.audit import AuditLog, Request, on_behalf
from tests.cluster.scale.contender import Contender

REST_SECONDS = 5.0
"""A contender that asked for nothing for so long has done what there was to do."""
REST_LIMIT = 300.0
AT_ONCE = 16
"""Resources that are applied in parallel at most."""


@dataclass
class Measured:
    """What was measured of one contender in one or more phases.

    Attributes:
        requests: Made for the sake of resources.
        cpu: Seconds of CPU time.
        delays: Seconds from apply to Job, one a resource.
    """

    requests: list[Request] = field(default_factory=list)
    cpu: float = 0.0
    delays: list[float] = field(default_factory=list)

    def __iadd__(self, other: Measured) -> Measured:
        """Put a further phase to it."""
        self.requests += other.requests
        self.cpu += other.cpu
        self.delays += other.delays
        return self

    def kinds(self) -> Counter[str]:
        """Requests by verb and kind."""
        return Counter(f"{each.verb} {each.what}" for each in self.requests)

    def writes(self) -> list[Request]:
        """Requests for a change."""
        return [each for each in self.requests if each.writes]

    def delay(self, percent: int) -> float:
        """A percentile of the delays."""
        return statistics.quantiles(self.delays, n=100)[percent - 1]


async def created(
    api: Api, audit: AuditLog, who: Contender, names: Sequence[str], *, pause: float
) -> Measured:
    """Create resources, one every ``pause`` seconds, and let the contender come to rest."""
    audit.news()
    before = who.cpu_seconds()
    start = time.monotonic()
    few = asyncio.Semaphore(AT_ONCE)

    async def create(name: str) -> None:
        async with few:
            await api.demand("POST", who.path, who.manifest(name))

    async with asyncio.TaskGroup() as group:
        for number, name in enumerate(names):
            await asyncio.sleep(max(0.0, start + number * pause - time.monotonic()))
            group.create_task(create(name))
    everything = await at_rest(audit, who)
    mine = [each for each in everything if each.user in who.users]
    delays = _delays(everything, who, names)
    return Measured(on_behalf(mine), who.cpu_seconds() - before, delays)


async def at_rest(audit: AuditLog, who: Contender) -> list[Request]:
    """Wait until nothing is asked for any more; gives all that everybody asked for meanwhile."""
    seen: list[Request] = []
    deadline = time.monotonic() + REST_LIMIT
    while time.monotonic() < deadline:
        await asyncio.sleep(REST_SECONDS)
        news = audit.news()
        seen += news
        if not on_behalf(each for each in news if each.user in who.users):
            return seen
    raise TimeoutError(f"{who.name} did not come to rest")


async def watched(
    audit: AuditLog, contenders: Sequence[Contender], seconds: float
) -> list[Measured]:
    """What each contender does in so many seconds in which nobody asks it for anything."""
    audit.news()
    before = [who.cpu_seconds() for who in contenders]
    await asyncio.sleep(seconds)
    news = audit.news()
    return [
        Measured(on_behalf(n for n in news if n.user in who.users), who.cpu_seconds() - used)
        for who, used in zip(contenders, before, strict=True)
    ]


async def restarted(audit: AuditLog, who: Contender, seconds: float) -> Measured:
    """End a contender, start it again, and see what it does from its start on."""
    who.stop()
    audit.news()
    who.start()
    await asyncio.sleep(seconds)
    return Measured(on_behalf(audit.news(who.users)), who.cpu_seconds())


def _delays(requests: Sequence[Request], who: Contender, names: Sequence[str]) -> list[float]:
    """Seconds from the arrival of each resource until its Job was written."""
    done = [each for each in requests if each.code == 201]
    asked = {each.name: each.received for each in done if each.what == who.plural}
    made = {each.name: each.answered for each in done if each.what == "jobs"}
    missing = [name for name in names if name not in asked or who.job_of(name) not in made]
    if missing:
        raise RuntimeError(f"{who.name}: no Job of {', '.join(missing[:5])} …")
    return [made[who.job_of(name)] - asked[name] for name in names]
