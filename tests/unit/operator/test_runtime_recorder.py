"""Events: posted once a transition, whatever else a repeated pass has to say."""

from __future__ import annotations

from typing import Any

import pytest

from sid_operator.plan.model import Notice
from sid_operator.runtime import recorder as module
from sid_operator.runtime.recorder import Recorder
from sid_operator.runtime.store import Key
from tests.unit.operator import world
from tests.unit.operator.fake_api import Fault, served

KEY = Key(world.NAMESPACE, world.NAME)
STALLED = Notice("Warning", "Stalled", "It stands.")


def later(version: int) -> dict[str, Any]:
    """The resource at a later version."""
    changed = world.raw()
    changed["metadata"]["resourceVersion"] = str(version)
    return changed


async def test_a_repeated_pass_posts_nothing_twice() -> None:
    async with served() as (api, client):
        for made in (6, 18):
            recorder = Recorder(client, "test")  # a process each: the first one crashed
            counting = Notice("Normal", "Running", f"{made} are made.", known_by="Running")
            await recorder.post(world.raw(), [counting, STALLED])
        told = sorted(event["message"] for event in api.of("events"))
        assert told == ["6 are made.", "It stands."]


async def test_a_transition_is_told_once_until_the_status_tells_it() -> None:
    async with served() as (api, client):
        recorder = Recorder(client, "test")
        for version in (100, 101, 102):  # somebody else changes the resource meanwhile
            await recorder.post(later(version), [STALLED])
        assert api.requests[("POST", "events")] == 1
        recorder.settled(KEY)
        await recorder.post(later(103), [STALLED])
        assert len(api.of("events")) == 2
        assert api.of("events")[-1]["involvedObject"]["resourceVersion"] == "103"


async def test_an_event_that_was_not_posted_is_tried_again() -> None:
    async with served() as (api, client):
        recorder = Recorder(client, "test")
        api.faults.append(Fault(403, plural="events"))
        for _ in range(2):
            await recorder.post(world.raw(), [STALLED])
        assert len(api.of("events")) == 1


async def test_silence_holds_nothing_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """However many Events there are to post."""
    monkeypatch.setattr(module, "POST_SECONDS", 1.0)
    async with served() as (api, client):
        recorder = Recorder(client, "test")
        api.faults.append(Fault(0, plural="events", silent=True))
        await recorder.post(world.raw(), [STALLED, Notice("Warning", "Failed", "It is over.")])
        assert "could not be posted" in caplog.text
        assert api.requests[("POST", "events")] == 1
        await recorder.post(world.raw(), [STALLED])
        assert len(api.of("events")) == 1
