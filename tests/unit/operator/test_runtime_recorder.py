"""Events: posted once a transition, whatever else a repeated pass has to say."""

from __future__ import annotations

from sid_operator.plan.model import Notice
from sid_operator.runtime.recorder import Recorder
from tests.unit.operator import world
from tests.unit.operator.fake_api import served


async def test_a_repeated_pass_posts_nothing_twice() -> None:
    async with served() as (api, client):
        recorder = Recorder(client, "test")
        for made in (6, 18):
            counting = Notice("Normal", "Running", f"{made} are made.", known_by="Running")
            await recorder.post(world.raw(), [counting, Notice("Warning", "Stalled", "It stands.")])
        told = sorted(event["message"] for event in api.of("events"))
        assert told == ["6 are made.", "It stands."]
        changed = world.raw()
        changed["metadata"]["resourceVersion"] = "101"
        await recorder.post(changed, [Notice("Warning", "Stalled", "It stands.")])
        assert len(api.of("events")) == 3
        assert api.of("events")[-1]["involvedObject"]["resourceVersion"] == "101"
