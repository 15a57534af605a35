"""What a change would meet is asked without making anything, and not again and again."""

from __future__ import annotations

import pytest

from sid_operator.kube.kinds import JOBS
from sid_operator.resources.job import job
from sid_operator.runtime.store import Key
from sid_operator.runtime.trials import Trials
from tests.unit.operator import world
from tests.unit.operator.fake_api import Fault, served

KEY = Key(world.NAMESPACE, world.NAME)
ASKED = ("POST", "jobs")
DENIED = Fault(422, method="POST", plural="jobs", message="HugePages require cpu", lasting=True)


@pytest.mark.parametrize("there", [False, True])
async def test_what_would_be_taken_is_not_made(there: bool) -> None:
    async with served() as (api, client):
        if there:
            api.put("jobs", job(world.run()) | {"spec": {"of": "before"}})
        wanted = job(world.run(labels={"team": "red"}))
        assert await Trials(client).refusal(JOBS, wanted) is None
        assert [one["spec"] for one in api.of("jobs")] == [{"of": "before"}] * there


@pytest.mark.parametrize(
    ("code", "words", "told"),
    [
        (422, "Job.batch is invalid: HugePages require cpu or memory", True),
        (403, "ValidatingAdmissionPolicy 'p' denied request: not that image", True),
        (500, 'failed calling webhook "a.b": connection refused', True),
        (403, "jobs.batch is forbidden: exceeded quota: q, used: count/jobs.batch=1", False),
        (400, 'admission webhook "a.b" does not support dry run', False),
    ],
    ids=["invalid", "policy", "webhook", "quota", "webhook with side effects"],
)
async def test_what_is_told_of_the_object_counts(code: int, words: str, told: bool) -> None:
    async with served() as (api, client):
        api.faults = [Fault(code, method="POST", plural="jobs", message=words)]
        trials = Trials(client)
        error = await trials.refusal(JOBS, job(world.run()))
        assert (error is not None and error.message == words) == told
        assert (trials.seconds_left(KEY) is not None) == told


async def test_it_is_asked_again_ever_more_rarely() -> None:
    clock = [0.0]
    async with served() as (api, client):
        api.faults = [DENIED]
        trials = Trials(client, monotonic=lambda: clock[0])
        asked_at = []
        for second in range(1000):
            clock[0] = float(second)
            before = api.requests[ASKED]
            assert await trials.refusal(JOBS, job(world.run())) is not None
            if api.requests[ASKED] > before:
                asked_at.append(second)
        assert asked_at == [0, 5, 10, 20, 40, 80, 160, 320, 620, 920]
        assert trials.seconds_left(KEY) == 920 + 300 - 999

        api.faults.clear()
        clock[0] = 920.0 + 300.0
        assert trials.seconds_left(KEY) is None
        assert await trials.refusal(JOBS, job(world.run())) is None
        assert trials.seconds_left(KEY) is None


async def test_another_object_is_asked_for_at_once() -> None:
    async with served() as (api, client):
        api.faults = [DENIED]
        trials = Trials(client, monotonic=lambda: 0.0)
        for count, of in enumerate((world.run(), world.run(labels={"team": "red"})), start=1):
            assert await trials.refusal(JOBS, job(of)) is not None
            assert await trials.refusal(JOBS, job(of)) is not None
            assert api.requests[ASKED] == count
        trials.forget(KEY)
        assert trials.seconds_left(KEY) is None
