"""``plan``: every state of a run and the ways between them."""

from __future__ import annotations

import dataclasses
import json
from datetime import timedelta
from typing import Any

import pytest

from sid_operator.api.conditions import Phase
from sid_operator.kube.kinds import CONFIG_MAPS, JOBS, SERVICES
from sid_operator.plan.decide import plan
from sid_operator.plan.jobs import Cleanup
from sid_operator.plan.model import (
    Apply,
    Child,
    CreationFailure,
    Delete,
    Merge,
    Observed,
    Plan,
    Stray,
    status_json,
)
from sid_operator.plan.pods import pod_of
from sid_operator.plan.resource import resource_of
from sid_operator.resources.config_map import config_map
from sid_operator.resources.run import Installed
from tests.unit.operator import world
from tests.unit.operator.world import NOW

READY_PODS = (world.ready(0), world.ready(1))


def first(observed: Observed, **spec: Any) -> Plan:
    return plan(world.resource(**spec), observed, NOW)


@pytest.fixture
def running() -> Plan:
    """A run that trains."""
    return first(world.observed(pods=READY_PODS, report=world.report()))


def test_a_new_resource_gets_its_children_in_order() -> None:
    made = first(Observed())
    assert [a.kind for a in made.actions] == [CONFIG_MAPS, SERVICES, JOBS]
    assert all(isinstance(a, Apply) and a.creates for a in made.actions)
    assert made.notices == ()
    assert made.status.phase is Phase.PENDING
    assert world.told(made)["Accepted"] == ("True", "Accepted")


def test_the_first_job_is_told_once() -> None:
    made = first(world.observed())
    assert [n.message for n in made.notices] == ["Created Job digits with 2 pods."]
    assert world.followed(made, world.observed()).notices == ()


def test_children_that_are_right_are_left_alone() -> None:
    assert first(world.observed()).actions == ()


@pytest.mark.parametrize("missing", ["config_map", "service", "job"])
def test_a_missing_child_is_restored_and_told(missing: str, running: Plan) -> None:
    later = world.followed(running, world.observed(**{missing: None}))
    (action,) = later.actions
    assert isinstance(action, Apply)
    assert action.notice is not None
    assert action.notice.reason == "Restored"


def test_a_changed_spec_replaces_the_job_when_its_pods_are_gone(running: Plan) -> None:
    spec = {"workers": {"nodes": 2, "gpusPerNode": 0, "image": "example.org/other:2"}}
    seen = world.observed(pods=READY_PODS)
    changed = world.followed(running, seen, **spec)
    assert [type(a) for a in changed.actions] == [Apply, Delete]
    assert changed.actions[1].notice is not None
    assert changed.actions[1].notice.reason == "Recreating"

    leaving = dataclasses.replace(world.job(), deleting=True)
    of = world.run(**spec)
    waiting = world.followed(changed, world.observed(of, job=leaving), **spec)
    assert waiting.actions == ()
    assert world.told(waiting)["PodsReady"] == ("False", "Recreating")
    gone = world.followed(waiting, world.observed(of, job=None), **spec)
    assert [a.kind for a in gone.actions] == [JOBS]


def test_a_changed_run_policy_is_patched_in_place(running: Plan) -> None:
    later = world.followed(running, world.observed(), runPolicy={"backoffLimit": 5})
    (action,) = later.actions
    assert isinstance(action, Merge)
    assert action.patch["spec"]["backoffLimit"] == 10


def test_another_operator_version_does_not_touch_a_run_that_goes_on() -> None:
    """The hash follows what the user wrote, so a new default image changes nothing."""
    spec = {"workers": {"nodes": 2, "gpusPerNode": 0}}
    raw = world.raw(**spec)
    before = resource_of(raw, default=Installed("trainer:1")).run
    after = resource_of(raw, default=Installed("trainer:2"))
    assert plan(after, world.observed(before), NOW).actions == ()


@pytest.mark.parametrize(
    ("part", "child"),
    [
        ("config_map", Child("x", ours=False)),
        ("service", Child("x", ours=False)),
        ("job", dataclasses.replace(world.job(), ours=False)),
    ],
)
def test_what_belongs_to_others_is_not_touched(part: str, child: Any) -> None:
    made = first(world.observed(**{part: child}))
    assert made.actions == ()
    assert world.told(made)["Accepted"] == ("False", "NameConflict")
    assert made.look_again_after == 30
    assert [n.reason for n in made.notices] == ["NameConflict"]


def test_a_job_left_by_an_earlier_resource_of_the_name_is_waited_for() -> None:
    stale = dataclasses.replace(world.job(), ours=False, deleting=True)
    made = first(world.observed(job=stale))
    assert made.actions == ()
    assert world.told(made)["PodsReady"] == ("False", "Recreating")


@pytest.mark.parametrize("part", ["config_map", "service"])
@pytest.mark.parametrize("ours", [True, False])
def test_no_job_starts_beside_what_is_being_removed(part: str, ours: bool) -> None:
    """Its pods would read the configuration of an earlier resource of the name."""
    leaving = Child("x", ours=ours, deleting=True)
    made = first(world.observed(job=None, **{part: leaving}))
    assert made.actions == ()
    assert world.told(made)["PodsReady"] == ("False", "Recreating")
    gone = world.followed(made, world.observed(job=None, **{part: None}))
    assert len(gone.actions) == 2
    assert gone.actions[-1].kind is JOBS


def test_a_run_is_suspended_though_its_config_map_is_being_removed(running: Plan) -> None:
    leaving = Child("x", ours=True, deleting=True)
    later = world.followed(running, world.observed(config_map=leaving), runPolicy={"suspend": True})
    assert [type(a) for a in later.actions] == [Merge]


def test_pods_of_an_earlier_job_are_waited_for() -> None:
    strays = (Stray("digits-0-x", "node-1"), Stray("digits-1-x"))
    seen = world.observed(job=None, strays=strays)
    made = first(seen)
    assert made.actions == ()
    ready = next(c for c in made.status.conditions if c.type == "PodsReady")
    assert ready.reason == "Recreating"
    assert "2, such as digits-0-x on node node-1. " in ready.message
    assert ready.message.index("out-of-service") < ready.message.index("--force")
    assert [a.kind.name for a in first(world.observed(job=None)).actions] == ["Job"]


@pytest.mark.parametrize("content", ["", "of an earlier version"])
def test_a_job_is_made_with_the_configuration_of_its_own_version(content: str) -> None:
    """After an upgrade the spec is the same, but what is read from it may be spelt otherwise."""
    before = world.child(config_map(world.run()))
    old = dataclasses.replace(before, content=content)
    made = first(world.observed(job=None, config_map=old)).actions
    assert [action.kind for action in made] == [CONFIG_MAPS, JOBS]
    assert isinstance(made[0], Apply)
    assert not made[0].creates
    # The pods of a Job that is there read what their own version wrote.
    assert first(world.observed(config_map=old)).actions == ()
    suspended = world.observed(job=None, config_map=old)
    assert first(suspended, runPolicy={"suspend": True}).actions == ()


def test_a_stuck_pod_is_told_rather_than_the_clean_up_that_waits_for_it() -> None:
    dormant = Cleanup(name="cleanup", uid="uid-of-cleanup", of_uid="uid-of-an-earlier-one")
    seen = world.observed(job=None, strays=(Stray("digits-0-x"),), cleanups=(dormant,))
    ready = next(c for c in first(seen).status.conditions if c.type == "PodsReady")
    assert ready.reason == "Recreating"
    assert "1, such as digits-0-x. " in ready.message


def test_a_spec_that_cannot_be_run_is_told() -> None:
    made = first(Observed(), training={"iterations": 5, "batchSize": 63})
    assert made.actions == ()
    assert world.told(made)["Accepted"] == ("False", "InvalidSpec")
    assert made.status.failure is not None
    assert "batchSize" in made.status.failure.message


def test_a_condition_of_a_newer_version_is_left_alone() -> None:
    """An operator that was rolled back finds what it does not know."""
    newer = world.condition("NewerThanThis", "Known", "words") | {"observedGeneration": 1}
    now = plan(world.resource({"conditions": [newer]}), world.observed(), world.NOW)
    assert now.status.conditions[-1].type == "NewerThanThis"
    assert now.status.conditions[0].type == "Accepted"


def test_no_image_is_told() -> None:
    made = first(Observed(), workers={"nodes": 2, "gpusPerNode": 0})
    assert made.status.failure is not None
    assert "workers.image" in made.status.failure.message


def test_the_way_from_pods_to_training() -> None:
    pending = first(world.observed())
    assert pending.status.phase is Phase.PENDING
    placed = tuple(world.waiting(i, "ContainerCreating") for i in range(2))
    starting = world.followed(pending, world.observed(pods=placed))
    assert starting.status.phase is Phase.STARTING
    assert world.told(starting)["PodsReady"] == ("False", "PodsStarting")
    assert [n.reason for n in starting.notices] == ["Starting"]

    up = world.followed(starting, world.observed(pods=READY_PODS))
    assert world.told(up)["PodsReady"] == ("True", "AllPodsReady")
    assert up.status.phase is Phase.STARTING
    assert up.scrape is not None
    assert up.scrape.address == "10.0.0.1"

    loading = world.observed(pods=READY_PODS, report=world.report(stage="loading", iteration=0))
    assert world.followed(up, loading).status.phase is Phase.STARTING

    trained = world.followed(up, world.observed(pods=READY_PODS, report=world.report()))
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
    later = world.followed(running, world.observed(pods=READY_PODS, report=None))
    assert status_json(later.status) == status_json(running.status)
    assert later.notices == ()


def test_silence_of_a_ready_rank_zero_becomes_unknown_after_a_while() -> None:
    pods = (world.ready(0, since=170), world.ready(1))
    quiet = first(world.observed(pods=pods))
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


def test_a_phase_alone_ends_no_run() -> None:
    forged = {"phase": "Failed", "failure": {"reason": "Other", "message": "so they say"}}
    made = first(Observed(), status=forged)
    assert made.actions != ()
    assert made.status.phase is Phase.PENDING
    assert world.told(made)["Accepted"] == ("True", "Accepted")


def test_a_permanent_failure_is_told_in_the_trainers_words(running: Plan) -> None:
    words = json.dumps(
        {
            "state": "failed",
            "failure": {"reason": "NotFound", "message": "No teacher at s3://sid/t: upload it."},
        }
    )
    pods = (world.ended(0, 66, words), world.ended(1, 143, ago=1, gone=True))
    dying = world.followed(running, world.observed(pods=pods))
    assert dying.status.phase is Phase.RUNNING
    assert world.told(dying)["Running"] == ("False", "Failing")
    assert dying.notices == ()
    message = "Container trainer for pod team/digits-0-a failed with exit code 66 matching FailJob"
    over = world.job(conditions=(world.condition("Failed", "PodFailurePolicy", message),))
    dead = world.followed(dying, world.observed(job=over))
    assert dead.status.phase is Phase.FAILED
    assert world.told(dead)["Failed"] == ("True", "NotFound")
    assert dead.status.failure is not None
    assert dead.status.failure.message == "No teacher at s3://sid/t: upload it."
    assert dead.status.failure.pod == "digits-0-a"
    assert [(n.type, n.reason) for n in dead.notices] == [("Warning", "Failed")]
    assert "NotFound: No teacher" in dead.notices[0].message
    assert world.followed(dead, Observed()).notices == ()


@pytest.mark.parametrize(
    ("reason", "spec", "verdict", "cause", "words"),
    [
        ("BackoffLimitExceeded", {}, "BackoffLimitExceeded", "OutOfMemory", "backoffLimit (3)"),
        (
            "DeadlineExceeded",
            {"runPolicy": {"activeDeadlineSeconds": 60}},
            "DeadlineExceeded",
            "DeadlineExceeded",
            "activeDeadlineSeconds (60)",
        ),
    ],
)
def test_limits_that_were_exceeded_are_named(
    reason: str, spec: dict[str, Any], verdict: str, cause: str, words: str
) -> None:
    of = world.run(**spec)
    over = world.job(of, conditions=(world.condition("Failed", reason),))
    pods = (world.ended(1, 137, reason="OOMKilled"),)
    dead = first(world.observed(of, job=over, pods=pods), **spec)
    assert world.told(dead)["Failed"] == ("True", verdict)
    assert dead.status.failure is not None
    assert dead.status.failure.reason == cause
    assert words in dead.status.conditions[-1].message


def test_waiting_causes_are_told_once_and_forgotten_when_cured() -> None:
    missing = tuple(
        world.waiting(i, "CreateContainerConfigError", 'secret "credentials" not found')
        for i in range(2)
    )
    stuck = first(world.observed(pods=missing))
    assert world.told(stuck)["PodsReady"] == ("False", "SecretNotFound")
    assert stuck.status.failure is not None
    assert "checkpoint.secretRef" in stuck.status.failure.message
    assert [n.reason for n in stuck.notices] == ["Created", "Starting", "SecretNotFound"]
    still = world.followed(stuck, world.observed(pods=missing))
    assert still.notices == ()
    cured = world.followed(still, world.observed(pods=READY_PODS))
    assert cured.status.failure is None


def test_pods_that_cannot_be_created_are_told_from_the_jobs_events() -> None:
    unaware = first(world.observed())
    assert unaware.wants_creation_failures
    failure = CreationFailure(NOW, 'Error creating: pods "digits-0-x" is forbidden: exceeded quota')
    stuck = first(world.observed(creation_failures=(failure,)))
    assert world.told(stuck)["PodsReady"] == ("False", "PodsNotCreated")
    assert "exceeded quota" in stuck.notices[-1].message
    assert "digits-0-x" not in stuck.notices[-1].message
    old = CreationFailure(NOW - timedelta(seconds=100), "Error creating: exceeded quota")
    assert first(world.observed(creation_failures=(old,))).status.failure is None


def test_a_young_job_is_given_time_to_create_its_pods() -> None:
    young = dataclasses.replace(world.job(), created=NOW, started=NOW)
    made = first(world.observed(job=young))
    assert not made.wants_creation_failures
    assert made.look_again_after == 10


@pytest.mark.parametrize(("waited", "again"), [(10, 10), (80, 80), (3600, 600)])
def test_missing_pods_are_asked_about_ever_more_rarely(waited: int, again: int) -> None:
    since = NOW - timedelta(seconds=waited)
    job = dataclasses.replace(world.job(), created=since, started=since)
    assert first(world.observed(job=job)).look_again_after == again


def test_suspend_and_resume(running: Plan) -> None:
    spec = {"runPolicy": {"suspend": True}}
    stopping = world.followed(running, world.observed(pods=READY_PODS), **spec)
    (action,) = stopping.actions
    assert isinstance(action, Merge)
    assert action.patch["spec"]["suspend"] is True
    assert stopping.status.phase is Phase.SUSPENDED
    assert world.told(stopping)["Suspended"] == ("True", "SuspendedByUser")
    suspended = world.job(world.run(**spec), suspend=True)
    stopped = world.followed(stopping, world.observed(job=suspended), **spec)
    assert stopped.actions == ()

    resumed = world.followed(stopped, world.observed(pods=READY_PODS))
    assert world.told(resumed)["Suspended"] == ("False", "Resumed")
    assert resumed.status.phase is Phase.STARTING

    without_pods = world.followed(stopped, world.observed())
    assert [n.reason for n in without_pods.notices] == ["Resumed"]

    # The Job starts anew when it is resumed; pods of before may be seen to end only then.
    again = dataclasses.replace(world.job(), started=NOW)
    left_over = (world.ended(0, 143, gone=True), world.ended(1, 143, gone=True))
    late = world.followed(stopped, world.observed(job=again, pods=left_over))
    assert late.status.phase is not Phase.RESTARTING


def test_with_a_queue_the_job_waits_for_it_and_is_absent_while_suspended() -> None:
    queue = {"scheduling": {"queueName": "gpus"}}
    of = world.run(**queue)
    queued = first(world.observed(of, job=world.job(of, suspend=True)), **queue)
    assert queued.status.phase is Phase.QUEUED
    assert queued.actions == ()
    stop = queue | {"runPolicy": {"suspend": True}}
    stopped = first(world.observed(world.run(**stop), job=world.job(of)), **stop)
    assert [type(a) for a in stopped.actions] == [Delete]
    assert first(world.observed(world.run(**stop), job=None), **stop).actions == ()


def test_a_queue_that_the_resource_does_not_name_is_read_from_the_job() -> None:
    """Kueue labels the Jobs of a namespace with a LocalQueue named default, and admits them."""
    admitted = dataclasses.replace(world.job(suspend=False), queue="default")
    waiting = first(world.observed(job=dataclasses.replace(admitted, suspended=True)))
    assert waiting.status.phase is Phase.QUEUED
    ready = next(c for c in waiting.status.conditions if c.type == "PodsReady")
    assert "queue default" in ready.message

    longer = first(world.observed(job=admitted), runPolicy={"backoffLimit": 5})
    (change,) = longer.actions
    assert isinstance(change, Merge)
    assert "suspend" not in change.patch["spec"]

    stop = {"runPolicy": {"suspend": True}}
    stopped = first(world.observed(world.run(**stop), job=admitted), **stop)
    assert [type(a) for a in stopped.actions] == [Delete]


def test_a_suspended_run_gets_no_job_that_a_queue_might_admit() -> None:
    stop = {"runPolicy": {"suspend": True}}
    made = first(Observed(), **stop)
    assert [a.kind for a in made.actions] == [CONFIG_MAPS, SERVICES]
    assert made.status.phase is Phase.SUSPENDED
    resumed = world.followed(made, world.observed(job=None))
    assert [a.kind for a in resumed.actions] == [JOBS]


def test_unschedulable_pods_are_told_with_the_schedulers_words() -> None:
    message = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    obj = world.raw_pod(0)
    obj["spec"] = {}
    obj["status"]["conditions"] = [
        world.condition("PodScheduled", "Unschedulable", message, status="False")
    ]
    stuck = first(world.observed(pods=(pod_of(obj),)))
    assert world.told(stuck)["PodsReady"] == ("False", "Unschedulable")
    assert stuck.status.phase is Phase.PENDING
    assert stuck.status.failure is not None
    assert "Insufficient nvidia.com/gpu" in stuck.status.failure.message


def test_a_field_of_a_newer_crd_is_passed_over() -> None:
    raw = world.raw()
    raw["spec"]["checkpoint"]["madeLater"] = "auto"
    raw["spec"]["madeLater"] = {"enabled": True}
    read = resource_of(raw, default=Installed())
    assert read.problem == ""
    assert read.run == world.run()
