"""``plan``: from pods to training, through restarts, to success."""

from __future__ import annotations

import json

from sid_operator.api.conditions import Phase
from sid_operator.plan.model import (
    Observed,
    Plan,
    status_json,
)
from tests.unit.operator import world
from tests.unit.operator.world import NOW


def test_the_way_from_pods_to_training() -> None:
    pending = world.first(world.observed())
    assert pending.status.phase is Phase.PENDING
    placed = tuple(world.waiting(i, "ContainerCreating") for i in range(2))
    starting = world.followed(pending, world.observed(pods=placed))
    assert starting.status.phase is Phase.STARTING
    assert world.told(starting)["PodsReady"] == ("False", "PodsStarting")
    assert [n.reason for n in starting.notices] == ["Starting"]

    up = world.followed(starting, world.observed(pods=world.READY_PODS))
    assert world.told(up)["PodsReady"] == ("True", "AllPodsReady")
    assert up.status.phase is Phase.STARTING
    assert up.scrape is not None
    assert up.scrape.address == "10.0.0.1"

    loading = world.observed(
        pods=world.READY_PODS, report=world.report(stage="loading", iteration=0)
    )
    assert world.followed(up, loading).status.phase is Phase.STARTING

    trained = world.followed(up, world.observed(pods=world.READY_PODS, report=world.report()))
    assert trained.status.phase is Phase.RUNNING
    assert world.told(trained)["Running"] == ("True", "Training")
    (began,) = trained.notices
    assert began.reason == "Running"
    assert began.message == "Training is running. 250 of 500 iterations are made."
    assert began.known_by == "Running"  # whatever the number, a repeated pass posts it once
    assert trained.status.progress is not None
    assert trained.status.progress.percent == 50
    assert trained.status.metrics == {"generatorLoss": 0.5}


def test_an_operator_that_just_started_does_not_doubt_a_run(running: Plan) -> None:
    later = world.followed(running, world.observed(pods=world.READY_PODS, report=None))
    assert status_json(later.status) == status_json(running.status)
    assert later.notices == ()


def test_silence_of_a_ready_rank_zero_becomes_unknown_after_a_while() -> None:
    pods = (world.ready(0, since=170), world.ready(1))
    quiet = world.first(world.observed(pods=pods))
    assert quiet.look_again_after == 10
    pods = (world.ready(0, since=200), world.ready(1))
    unheard = world.followed(quiet, world.observed(pods=pods))
    assert world.told(unheard)["Running"] == ("Unknown", "NoReport")
    assert unheard.status.phase is Phase.RUNNING


def test_a_lost_pod_restarts_the_run_and_training_clears_the_failure(running: Plan) -> None:
    lost = (world.ended(0, 80, gone=True), world.ended(1, 137, reason="OOMKilled"))
    restarting = world.followed(running, world.observed(pods=lost))
    assert restarting.status.phase is Phase.RESTARTING
    assert restarting.status.failure is not None
    assert restarting.status.failure.reason == "OutOfMemory"
    assert restarting.status.failure.pod == "digits-1-a"
    (notice,) = restarting.notices
    assert (notice.type, notice.reason) == ("Warning", "Restarting")
    assert "OutOfMemory" in notice.message

    again = (world.ready(0, suffix="b", age=3), world.ready(1, suffix="b", age=3), *lost)
    loading = world.report(attempt=2, stage="loading", iteration=0, time=NOW)
    reloaded = world.followed(restarting, world.observed(pods=again, report=loading))
    assert reloaded.status.phase is Phase.RESTARTING
    assert reloaded.status.restarts == 1
    assert reloaded.notices == ()

    trained = world.report(attempt=2, iteration=200, time=NOW)
    back = world.followed(reloaded, world.observed(pods=again, report=trained))
    assert back.status.phase is Phase.RUNNING
    assert back.status.restarts == 1
    assert back.status.failure is None
    assert back.status.progress is not None
    assert back.status.progress.iteration == 200


def test_what_rank_zero_said_before_its_peer_was_lost_is_not_taken_for_training(
    running: Plan,
) -> None:
    stale = world.report()
    lost = (world.ready(0), world.ended(1, 143, gone=True))
    restarting = world.followed(running, world.observed(pods=lost, report=stale))
    assert restarting.status.phase is Phase.RESTARTING
    back = (world.ready(0), world.ready(1, suffix="b", age=3))
    joined = world.followed(restarting, world.observed(pods=back, report=stale))
    assert joined.status.phase is Phase.RESTARTING
    assert joined.notices == ()
    news = world.report(attempt=2, iteration=200, time=NOW)
    trained = world.followed(joined, world.observed(pods=back, report=news))
    assert trained.status.phase is Phase.RUNNING
    again = world.followed(trained, world.observed(pods=back, report=news))
    assert again.status.phase is Phase.RUNNING


def test_ranks_that_end_one_after_the_other_do_not_look_like_a_restart(running: Plan) -> None:
    exporting = world.report(stage="exporting", iteration=500, time=NOW)
    pods = (world.ready(0), world.ended(1, 0))
    near = world.followed(running, world.observed(pods=pods, report=exporting))
    assert near.status.phase is Phase.RUNNING
    both = world.followed(near, world.observed(pods=(world.ended(0, 0), world.ended(1, 0))))
    assert both.status.phase is Phase.RUNNING


def _last_words() -> str:
    last = world.report(
        stage="done", iteration=500, eta_seconds=0, time=NOW, student_uri="s3://sid/x/student"
    )
    return json.dumps(
        {"state": "succeeded", "progress": last.model_dump(by_alias=True, mode="json")}
    )


def test_success_takes_the_last_words_of_rank_zero(running: Plan) -> None:
    pods = (world.ended(0, 0, _last_words()), world.ended(1, 0))
    over = world.job(conditions=(world.condition("Complete"),))
    done = world.followed(running, world.observed(job=over, pods=pods))
    assert done.status.phase is Phase.SUCCEEDED
    assert world.told(done)["Complete"] == ("True", "AllIterationsDone")
    assert done.status.progress is not None
    assert (done.status.progress.iteration, done.status.progress.percent) == (500, 100)
    assert done.status.student is not None
    assert done.status.student.uri == "s3://sid/x/student"
    assert done.status.completion_time == NOW
    assert [n.reason for n in done.notices] == ["Succeeded"]
    assert done.scrape is None


def test_success_is_told_even_where_nobody_heard_the_last_words(running: Plan) -> None:
    over = world.job(conditions=(world.condition("Complete"),))
    done = world.followed(running, world.observed(job=over))
    assert done.status.progress is not None
    assert (done.status.progress.iteration, done.status.progress.iterations) == (500, 500)
    assert done.status.student is not None
    assert done.status.student.uri == "s3://sid/runs/team/digits/student"


def test_a_finished_run_stays_finished_whatever_happens_to_its_children(running: Plan) -> None:
    over = world.job(conditions=(world.condition("Complete"),))
    done = world.followed(running, world.observed(job=over))
    later = world.followed(done, Observed())
    assert later.actions == ()
    assert status_json(later.status) == status_json(done.status)
    assert later.look_again_after is None
