"""Events of a namespace are read once for all that ask at about the same time."""

from __future__ import annotations

import asyncio
from typing import Any

from sid_operator.runtime.events import SHARED_SECONDS, EventReader
from tests.unit.operator.fake_api import served

ASKED = ("GET", "events")


def event(name: str, uid: str, namespace: str = "team") -> dict[str, Any]:
    return {
        "metadata": {"namespace": namespace, "name": name},
        "involvedObject": {"uid": uid},
        "reason": "FailedCreate",
        "message": f"told of {uid}",
        "lastTimestamp": "2026-11-22T12:00:00Z",
    }


async def test_many_who_ask_at_once_cost_one_request() -> None:
    async with served() as (api, client):
        for number in range(20):
            api.put("events", event(f"e{number}", f"uid-{number}"))
        reader = EventReader(client)
        asked = [reader.about("team", f"uid-{number}", "FailedCreate") for number in range(20)]
        told = await asyncio.gather(*asked)
        assert [one.message for (one,) in told] == [f"told of uid-{n}" for n in range(20)]
        assert api.requests[ASKED] == 1
        assert await reader.about("team", "another", "FailedCreate") == []
        assert await reader.about("team", "uid-1", "FailedMount") == []
        assert api.requests[ASKED] == 2


async def test_what_was_read_is_soon_read_again() -> None:
    async with served() as (api, client):
        now = 0.0
        reader = EventReader(client, monotonic=lambda: now)
        assert await reader.about("team", "one", "FailedCreate") == []
        api.put("events", event("e", "one"))
        now += SHARED_SECONDS
        (told,) = await reader.about("team", "one", "FailedCreate")
        assert told.time.isoformat() == "2026-11-22T12:00:00+00:00"
