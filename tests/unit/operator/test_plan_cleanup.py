"""``deletionPolicy`` and ``ttlSecondsAfterFinished``: what happens after the end and later."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest

from sid_operator.api.conditions import ConditionType
from sid_operator.api.names import ANNOTATION_HASH, ANNOTATION_QUEUE, ANNOTATION_SELF, LABEL_QUEUE
from sid_operator.kube.kinds import DISTILLATIONS, JOBS
from sid_operator.plan.cleanup import (
    cleaning,
    copies,
    drop,
    enqueue,
    failures,
    is_due,
    orphans,
    release,
    unqueued,
)
from sid_operator.plan.conditions import find
from sid_operator.plan.decide import plan
from sid_operator.plan.jobs import Cleanup, cleanup_of
from sid_operator.plan.model import Apply, Delete, Merge, Plan, Refusal
from sid_operator.plan.resource import resource_of
from sid_operator.resources.cleanup import (
    cleanup_hash,
    cleanup_job,
    cleanup_name,
    mark_patch,
    queue_note_patch,
    queue_patch,
    release_patch,
)
from sid_operator.resources.job import job
from sid_operator.resources.run import Installed, Run
from tests.unit.operator import world
from tests.unit.operator.world import NOW

DELETING: dict[str, Any] = {"deletionPolicy": "Delete"}


def of_run(**changes: Any) -> Cleanup:
    """The clean-up Job of the world's run, as it is seen."""
    return dataclasses.replace(cleanup_of(held()), **changes)


def held() -> dict[str, Any]:
    """The same, as the API server holds it."""
    manifest = cleanup_job(world.run(**DELETING))
    manifest["metadata"]["uid"] = "uid-of-cleanup"
    manifest["metadata"]["annotations"][ANNOTATION_SELF] = "uid-of-cleanup"
    return manifest


def finished(**spec: Any) -> Plan:
    """The plan of a run that completed a minute ago."""
    done = dataclasses.replace(world.job(), complete=NOW)
    return plan(world.resource(**spec), world.observed(job=done), NOW)


def test_the_job_is_made_with_the_run_and_makes_no_pod() -> None:
    made = plan(world.resource(**DELETING), world.observed(), NOW)
    (action,) = made.actions
    assert isinstance(action, Apply)
    spec = action.manifest["spec"]
    assert (spec["suspend"], spec["parallelism"], spec["completions"]) == (True, 0, 1)
    assert "activeDeadlineSeconds" not in spec  # it would run out while the run goes on
    assert "ownerReferences" not in action.manifest["metadata"]
    (container,) = action.manifest["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["remove", "--storage", "s3://sid/runs/team/digits"]


def test_its_pod_is_none_of_the_gang() -> None:
    template = cleanup_job(world.run(**DELETING))["spec"]["template"]
    assert "sid-dit.dev/distillation" not in template["metadata"]["labels"]


def test_its_pod_may_go_where_those_of_the_run_may() -> None:
    taint = {"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}
    workers = world.raw()["spec"]["workers"] | {
        "nodeSelector": {"kubernetes.io/arch": "arm64"},
        "nodeAffinity": [{"key": "pool", "operator": "In", "values": ["sid"]}],
        "tolerations": [taint],
        "podLabels": {"team": "images"},
        "podAnnotations": {"sidecar.istio.io/inject": "false"},
    }
    of = world.run(workers=workers)
    template = cleanup_job(of)["spec"]["template"]
    pod, trains = template["spec"], job(of)["spec"]["template"]["spec"]
    for field in ("nodeSelector", "tolerations"):
        assert pod[field] == trains[field] != {}
    assert pod["affinity"] == {"nodeAffinity": trains["affinity"]["nodeAffinity"]}
    assert template["metadata"]["labels"]["team"] == "images"
    assert template["metadata"]["annotations"] == {"sidecar.istio.io/inject": "false"}
    resources = pod["containers"][0]["resources"]
    assert set(resources["limits"]) == set(resources["requests"]) == {"cpu", "memory"}


def test_it_is_left_alone_once_it_is_there() -> None:
    seen = world.observed(cleanups=(of_run(),))
    assert plan(world.resource(**DELETING), seen, NOW).actions == ()


@pytest.mark.parametrize(
    ("seen", "spec"),
    [
        (of_run(), {}),
        (of_run(dormant=False), DELETING),
        (of_run(finished=True), DELETING),
    ],
    ids=["the policy is Retain again", "somebody let it go", "somebody gave it a deadline"],
)
def test_it_is_deleted_when_it_no_longer_fits(seen: Cleanup, spec: dict[str, Any]) -> None:
    made = plan(world.resource(**spec), world.observed(cleanups=(seen,)), NOW)
    assert made.actions == (Delete(JOBS, seen.name, "uid-of-cleanup"),)


def test_what_is_wanted_instead_is_there_before_the_former_goes() -> None:
    former = of_run(name="former", uid="uid-of-former", mark="uid-of-former", hash="of before")
    (made,) = plan(world.resource(**DELETING), world.observed(cleanups=(former,)), NOW).actions
    assert isinstance(made, Apply)
    assert made.manifest["metadata"]["name"] != former.name

    fresh = of_run(mark="")
    both = world.observed(cleanups=(former, fresh))
    (marked,) = plan(world.resource(**DELETING), both, NOW).actions
    assert marked == Merge(JOBS, fresh.name, mark_patch(fresh.uid))

    both = world.observed(cleanups=(former, of_run()))
    (gone,) = plan(world.resource(**DELETING), both, NOW).actions
    assert gone == Delete(JOBS, "former", "uid-of-former")


def test_what_somebody_let_go_is_removed_without_waiting_for_another() -> None:
    let_go = of_run(name="former", uid="uid-of-former", hash="of before", dormant=False)
    removed, made = plan(
        world.resource(**DELETING), world.observed(cleanups=(let_go,)), NOW
    ).actions
    assert removed == Delete(JOBS, "former", "uid-of-former")
    assert isinstance(made, Apply)


def test_one_that_is_being_deleted_is_waited_for() -> None:
    seen = world.observed(cleanups=(of_run(deleting=True),))
    assert plan(world.resource(**DELETING), seen, NOW).actions == ()


def test_another_default_image_changes_no_job() -> None:
    """An upgrade of the operator must not touch the Jobs of all resources at once."""
    workers = {"nodes": 1, "gpusPerNode": 0}
    raw = world.raw(workers=workers, **DELETING)
    before, after = (
        resource_of(raw, Installed(f"registry.example.org/sid-trainer:{tag}")).run
        for tag in ("1.0", "2.0")
    )
    assert before is not None
    assert after is not None
    assert cleanup_hash(before) == cleanup_hash(after)
    assert cleanup_name(before) == cleanup_name(after)


WORKERS = {
    "gpuResource": "nvidia.com/gpu",
    "nodes": 2,
    "gpusPerNode": 0,
    "image": world.IMAGE,
    "imagePullPolicy": "Always",
    "imagePullSecrets": [{"name": "pull"}],
    "nodeSelector": {"gpu": "h100"},
    "nodeAffinity": [{"key": "pool", "operator": "Exists"}],
    "tolerations": [{"key": "gpu", "operator": "Exists"}],
    "podLabels": {"team": "images"},
    "podAnnotations": {"sidecar.istio.io/inject": "false"},
    "env": [{"name": "LOG", "value": "1"}],
    "fsGroup": 1000,
    "resources": {"limits": {"cpu": 8}},
    "runtimeClassName": "gvisor",
    "sharedMemory": "1Gi",
    "terminationGracePeriodSeconds": 60,
    "volumes": [{"name": "models", "claimName": "weights", "mountPath": "/mnt/models"}],
}
CHECKPOINT = {
    "bucket": "sid",
    "prefix": "runs",
    "secretRef": {"name": "credentials"},
    "endpoint": "https://minio.minio:9000",
    "region": "eu-central-1",
    "addressing": "virtual",
    "caBundleRef": {"name": "authorities"},
    "everyIterations": 20,
    "keepLast": 3,
    "keepBest": 0,
    "resume": "required",
    "toleratedFailures": 1,
}


def test_the_hash_follows_all_that_the_job_is_made_from_and_nothing_else() -> None:
    sections: dict[str, dict[str, Any]] = {
        "workers": WORKERS,
        "checkpoint": CHECKPOINT,
        "labels": {"project": "four-steps"},
        "annotations": {"example.org/cost-centre": "7"},
    }
    every = world.run(**sections)

    def rendered(of: Run) -> dict[str, Any]:
        job = cleanup_job(of)
        del job["metadata"]["name"], job["metadata"]["annotations"][ANNOTATION_HASH]
        return job

    by_role = CHECKPOINT | {"secretRef": None, "serviceAccountName": "trainer"}
    assert cleanup_hash(world.run(**(sections | {"checkpoint": by_role}))) != cleanup_hash(every)

    for section, fields in sections.items():
        for field in fields.keys() - {"bucket", "secretRef", "gpusPerNode", "image"}:  # required
            fewer = {name: value for name, value in fields.items() if name != field}
            changed = world.run(**(sections | {section: fewer}))
            alike = rendered(changed) == rendered(every)
            assert (cleanup_hash(changed) == cleanup_hash(every)) is alike, field


QUEUED: dict[str, Any] = DELETING | {"scheduling": {"queueName": "team"}}


def test_the_job_bears_the_queue_of_the_run_and_is_not_in_it() -> None:
    """A queue for GPUs may take no Job that asks for cpu and memory."""
    metadata = cleanup_job(world.run(**QUEUED))["metadata"]
    assert metadata["annotations"][ANNOTATION_QUEUE] == "team"
    assert LABEL_QUEUE not in metadata["labels"]
    assert ANNOTATION_QUEUE not in cleanup_job(world.run(**DELETING))["metadata"]["annotations"]


@pytest.mark.parametrize("borne", ["", "former"])
def test_a_job_that_bears_another_queue_is_told_and_not_made_anew(borne: str) -> None:
    """Earlier versions wrote none into it."""
    assert cleanup_hash(world.run(**QUEUED)) == cleanup_hash(world.run(**DELETING))
    seen = world.observed(world.run(**QUEUED), cleanups=(of_run(noted_queue=borne),))
    (action,) = plan(world.resource(**QUEUED), seen, NOW).actions
    assert action == Merge(JOBS, of_run().name, queue_note_patch("uid-of-cleanup", "team"))

    settled = world.observed(world.run(**QUEUED), cleanups=(of_run(noted_queue="team"),))
    assert plan(world.resource(**QUEUED), settled, NOW).actions == ()
    (gone,) = plan(world.resource(**DELETING), settled, NOW).actions[:1]
    assert gone == Merge(JOBS, of_run().name, queue_note_patch("uid-of-cleanup", None))


def test_a_job_that_is_held_back_for_it_is_in_no_queue_is_put_into_that_of_the_run() -> None:
    held_back = of_run(dormant=False, released=NOW, suspended=True, noted_queue="team")
    assert unqueued((held_back,), None) == (held_back,)
    assert enqueue(held_back) == Merge(JOBS, held_back.name, queue_patch("uid-of-cleanup", "team"))
    for change in (
        {"queue": "default"},
        {"noted_queue": ""},
        {"suspended": False},
        {"dormant": True},
        {"finished": True},
    ):
        assert unqueued((dataclasses.replace(held_back, **change),), None) == ()
    assert unqueued((held_back,), world.UID) == ()


def test_a_policy_changed_after_the_end_is_followed() -> None:
    done = finished()
    later = world.followed(done, world.observed(), **DELETING)
    (action,) = later.actions
    assert isinstance(action, Apply)


def test_names_differ_between_resources_of_one_name() -> None:
    one, other = world.run(), dataclasses.replace(world.run(), uid="another", name="n" * 50)
    assert cleanup_name(one) != cleanup_name(dataclasses.replace(one, uid="another"))
    assert len(cleanup_name(other)) <= 63


def test_a_job_is_let_go_when_its_resource_is_gone() -> None:
    made = of_run()
    assert orphans((made,), world.UID) == ()
    assert orphans((made,), None) == (made,)
    assert orphans((made,), "uid of the next resource of the name") == (made,)
    assert orphans((dataclasses.replace(made, dormant=False),), None) == ()


@pytest.mark.parametrize(
    ("mark", "known", "copied"),
    [
        ("uid-of-cleanup", (), False),
        ("uid of the one that was copied", (), True),
        ("", (), True),
        ("", ("uid-of-cleanup",), False),
        ("", ("uid of another",), True),
    ],
    ids=["its own", "of another", "none", "none, but seen with its resource", "none, others seen"],
)
def test_only_what_is_no_copy_is_let_go(mark: str, known: tuple[str, ...], copied: bool) -> None:
    job = of_run(mark=mark)
    assert (orphans((job,), None, known) == ()) is copied
    assert (copies((job,), None, known) != ()) is copied
    assert copies((job,), world.UID, known) == ()
    assert copies((dataclasses.replace(job, deleting=True),), None, known) == ()
    assert copies((dataclasses.replace(job, finished=True),), None, known) == ()


def test_a_copy_of_a_job_that_was_let_go_is_deleted_too() -> None:
    job = of_run(dormant=False, mark="uid of the one that was copied")
    assert copies((job,), None) == (job,)
    deletion = drop(job)
    assert (deletion.name, deletion.uid) == (job.name, job.uid)
    assert deletion.notice is not None
    assert "is a copy" in deletion.notice.message
    # One without a mark was let go by an earlier version, rightly.
    assert copies((of_run(dormant=False, mark=""),), None) == ()


def test_a_job_marks_and_is_let_go_as_itself_only() -> None:
    """Another may bear its name by then."""
    assert mark_patch("uid-of-cleanup")["metadata"]["uid"] == "uid-of-cleanup"
    metadata = release(of_run(mark=""), NOW).patch["metadata"]
    assert metadata["uid"] == metadata["annotations"][ANNOTATION_SELF] == "uid-of-cleanup"


def seen(patch: dict[str, Any] | None = None, **changes: Any) -> Cleanup:
    """The clean-up Job after a merge patch, with fields of its spec and status changed."""
    manifest = held()
    manifest["metadata"]["annotations"] |= (patch or {}).get("metadata", {}).get("annotations", {})
    manifest["spec"] |= (patch or {}).get("spec", {}) | changes
    return cleanup_of(manifest | {"status": {"startTime": world.at(7200)}})


def test_a_queue_that_opens_its_lock_lets_nothing_go() -> None:
    """Kueue admits any Job of a namespace with a LocalQueue named default."""
    admitted = seen(suspend=False)
    assert admitted.dormant
    there = world.observed(cleanups=(admitted,))
    assert plan(world.resource(**DELETING), there, NOW).actions == ()
    assert orphans((admitted,), None) == (admitted,)

    merge = release(admitted, NOW)
    assert merge.patch["spec"]["parallelism"] == 1
    assert merge.patch["spec"]["activeDeadlineSeconds"] == 7200 + 3600  # it started long ago
    waiting = seen(merge.patch, suspend=True)
    assert orphans((waiting,), None) == ()  # its turn comes; the queue has it now


def test_a_job_of_an_earlier_version_is_let_go_too() -> None:
    assert orphans((seen(parallelism=1),), None) != ()
    assert orphans((seen(parallelism=1, suspend=False),), None) == ()


def test_a_job_that_somebody_holds_back_again_is_not_let_go_without_pause() -> None:
    patch = release_patch("uid-of-cleanup", None, NOW)
    assert patch["spec"]["activeDeadlineSeconds"] == 3600
    held = seen(patch, parallelism=0)
    assert orphans((held,), None) == (held,)
    assert not is_due(held, NOW)
    assert is_due(held, NOW + timedelta(seconds=30))
    assert is_due(held, NOW - timedelta(hours=1))  # a time from the future stops nothing
    forged = {"metadata": {"annotations": {"sid-dit.dev/released": "never"}}}
    assert is_due(seen(forged), NOW)


def test_the_next_resource_of_the_name_waits() -> None:
    earlier = of_run(of_uid="uid-of-an-earlier-one", dormant=False)
    seen = world.observed(job=None, cleanups=(earlier,))
    waiting = plan(world.resource(), seen, NOW)
    assert waiting.actions == ()
    assert world.told(waiting)["PodsReady"] == ("False", "CleaningUp")

    for seen_now, words in (
        (earlier, ""),
        (dataclasses.replace(earlier, suspended=True), ""),  # the operator's own lock
        (dataclasses.replace(earlier, suspended=True, queue="team", released=NOW), "queue team"),
    ):
        seen = world.observed(job=None, cleanups=(seen_now,))
        ready = find(plan(world.resource(), seen, NOW).status.conditions, ConditionType.PODS_READY)
        assert ready is not None
        assert earlier.name in ready.message
        assert "delete the Job" in ready.message
        assert ("is suspended" in ready.message) is bool(words)
        assert words in ready.message

    gone = world.observed(job=None, cleanups=(dataclasses.replace(earlier, finished=True),))
    assert [action.kind for action in plan(world.resource(), gone, NOW).actions] == [JOBS]


def test_that_a_job_fails_is_told_before_its_last_pod_has_ended() -> None:
    """Which on a node that is lost is never; a pod may empty the folder until then."""
    failing = world.condition("FailureTarget", "BackoffLimitExceeded", "reached the limit")
    job = cleanup_of(held() | {"status": {"conditions": [failing]}})
    assert (job.failed, job.finished) == ("reached the limit", False)
    assert failures((job,), None) == (job,)
    assert cleaning("uid of the next resource of the name", world.observed(cleanups=(job,))) == job

    failed = world.condition("Failed", "BackoffLimitExceeded", "reached the limit")
    over = cleanup_of(held() | {"status": {"conditions": [failing, failed]}})
    assert (over.failed, over.finished) == ("reached the limit", True)


def test_a_finished_resource_is_deleted_when_its_time_is_up() -> None:
    spec = {"runPolicy": {"ttlSecondsAfterFinished": 30}}
    done = finished(**spec)
    assert done.look_again_after == 30
    assert done.actions == ()

    status = done.status.model_dump(by_alias=True, exclude_none=True, mode="json")
    early = plan(world.resource(status, **spec), world.observed(), NOW)
    assert (early.actions, early.look_again_after) == ((), 30)
    status["completionTime"] = world.at(31)
    (action,) = plan(world.resource(status, **spec), world.observed(), NOW).actions
    assert isinstance(action, Delete)
    assert (action.kind, action.name, action.uid) == (DISTILLATIONS, world.NAME, world.UID)
    assert action.notice is not None
    assert action.notice.reason == "Expired"


def test_a_deletion_that_shows_no_effect_is_not_repeated_without_pause() -> None:
    spec = {"runPolicy": {"ttlSecondsAfterFinished": 30}}
    status = finished(**spec).status.model_dump(by_alias=True, exclude_none=True, mode="json")
    status["completionTime"] = world.at(3600)
    assert plan(world.resource(status, **spec), world.observed(), NOW).look_again_after == 30


def test_a_deletion_that_is_refused_is_tried_again_later() -> None:
    spec = {"runPolicy": {"ttlSecondsAfterFinished": 0}}
    done = finished(**spec)
    refused = world.observed(refusal=Refusal("SiDDistillation", world.NAME, "forbidden"))
    later = world.followed(done, refused, **spec)
    assert later.actions == ()
    assert later.look_again_after == 5


def test_a_run_without_a_time_to_live_stays() -> None:
    assert finished().look_again_after is None
