"""Events of a namespace are read once for all that ask at about the same time, if they can be."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sid_operator.runtime import events
from sid_operator.runtime.events import FAILED_SECONDS, SHARED_SECONDS, EventReader
from tests.unit.operator.fake_api import Fault, served

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


@pytest.mark.parametrize("status", [403, 503])
async def test_what_cannot_be_read_is_told_and_not_asked_for_at_once(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """What was read before counts for as long."""
    async with served() as (api, client):
        api.put("events", event("e", "one"))
        now = 0.0
        reader = EventReader(client, monotonic=lambda: now)
        known = await reader.about("team", "one", "FailedCreate")
        now += SHARED_SECONDS
        api.faults = [Fault(status, plural="events", lasting=True)]
        for _ in range(20):
            assert await reader.about("team", "one", "FailedCreate") == known
        assert await reader.about("other", "one", "FailedCreate") == []
        assert api.requests[ASKED] == 3
        now += FAILED_SECONDS
        assert await reader.about("other", "one", "FailedCreate") == []
        assert api.requests[ASKED] == 4
        assert len([one for one in caplog.messages if "cannot be read" in one]) == 1


async def test_silence_about_one_namespace_holds_no_other_up() -> None:
    async with served() as (api, client):
        api.put("events", event("e", "one"))
        reader = EventReader(client)
        api.faults = [Fault(0, plural="events", silent=True)]
        waiting = asyncio.create_task(reader.about("silent", "one", "FailedCreate"))
        async with asyncio.timeout(10):
            while not api.requests[ASKED]:  # noqa: ASYNC110 - the state of a server
                await asyncio.sleep(0.01)
            assert await reader.about("team", "one", "FailedCreate")
        assert not waiting.done()
        waiting.cancel()


async def test_silence_is_soon_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "READ_SECONDS", 1.0)
    async with served() as (api, client):
        reader = EventReader(client)
        api.faults = [Fault(0, plural="events", silent=True, lasting=True)]
        asked = [reader.about("team", f"uid-{number}", "FailedCreate") for number in range(8)]
        assert await asyncio.gather(*asked) == [[]] * 8
        assert api.requests[ASKED] == 1
