"""Diagnosis: what the kubelet, exit codes and records say, in words for users."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sid_operator.plan.diagnosis import creation_cause, waiting_cause
from sid_operator.plan.failure import job_failure, pod_cause
from sid_operator.plan.model import CreationFailure
from sid_operator.plan.objects import printable
from sid_operator.plan.pods import Pod, pod_of
from tests.unit.operator import world

BACK_OFF = 'Back-off pulling image "x": ErrImagePull: rpc error: code = NotFound desc = not found'
TRIED = "rpc error: code = NotFound desc = not found"


@pytest.mark.parametrize(
    ("reason", "message", "cause", "words"),
    [
        (
            "CreateContainerConfigError",
            'secret "credentials" not found',
            "SecretNotFound",
            'Secret "credentials" is not in namespace "team": create it, or name another in '
            "checkpoint.secretRef",
        ),
        (
            "CreateContainerConfigError",
            'secret "hub" not found',
            "SecretNotFound",
            "teacher.tokenSecretRef",
        ),
        (
            "CreateContainerConfigError",
            "couldn't find key secretKey in Secret team/credentials",
            "SecretKeyNotFound",
            'has no key "secretKey": add it',
        ),
        ("CreateContainerConfigError", "image will run as root", "ContainerNotCreated", "as root"),
        ("ImagePullBackOff", BACK_OFF, "ImagePullFailed", "cannot be pulled: not found. Check"),
        ("ErrImagePull", TRIED, "ImagePullFailed", "cannot be pulled: not found. Check"),
        ("InvalidImageName", "couldn't parse", "ImagePullFailed", "couldn't parse"),
    ],
)
def test_waiting_containers(reason: str, message: str, cause: str, words: str) -> None:
    spec = {"teacher": {"model": "a/b", "tokenSecretRef": {"name": "hub"}}}
    found = waiting_cause(world.run(**spec), [world.waiting(0, reason, message)])
    assert found is not None
    assert found.reason == cause
    assert words in found.message


def test_back_off_and_error_read_the_same() -> None:
    causes = {
        waiting_cause(world.run(), [world.waiting(0, reason, message)])
        for reason, message in (("ImagePullBackOff", BACK_OFF), ("ErrImagePull", TRIED))
    }
    assert len(causes) == 1


TIMED_OUT = "lookup r.invalid on 10.0.0.9:53: read udp 10.1.0.5:{}->10.0.0.9:53: i/o timeout"


@pytest.mark.parametrize("reason", ["ErrImagePull", "CreateContainerError"])
def test_a_try_from_another_port_is_no_news(reason: str) -> None:
    causes = {
        waiting_cause(world.run(), [world.waiting(0, reason, TIMED_OUT.format(port))])
        for port in (41_234, 9_871)
    }
    (cause,) = causes
    assert cause is not None
    assert "lookup r.invalid on 10.0.0.9:53: read udp 10.0.0.9:53: i/o timeout" in cause.message


def test_pods_that_are_refused_from_another_port_are_no_news() -> None:
    words = 'failed calling webhook "w": read tcp 10.0.0.1:{}->10.0.0.2:443: reset by peer'
    causes = {
        creation_cause(world.run(), [CreationFailure(world.NOW, words.format(port))], world.NOW)
        for port in (41_234, 9_871)
    }
    assert len(causes) == 1


def test_a_service_account_that_is_missing_is_told() -> None:
    words = (
        'Error creating: pods "digits-0-" is forbidden: error looking up service account '
        'team/trainer: serviceaccount "trainer" not found'
    )
    failures = [CreationFailure(world.NOW, words)]
    checkpoint = {"bucket": "sid", "serviceAccountName": "trainer"}
    found = creation_cause(world.run(checkpoint=checkpoint), failures, world.NOW)
    assert found is not None
    assert found.reason == "ServiceAccountNotFound"
    told = 'ServiceAccount "trainer" is not in namespace "team": create it, with its role, or name'
    assert f"{told} another in checkpoint.serviceAccountName" in found.message
    other = creation_cause(world.run(), failures, world.NOW)  # of an admission plug-in's own
    assert other is not None
    assert other.reason == "PodsNotCreated"


@pytest.mark.parametrize(
    ("words", "of", "reason", "field"),
    [
        (
            "no PriorityClass with name high was found",
            {"scheduling": {"priorityClassName": "high"}},
            "PriorityClassNotFound",
            "scheduling.priorityClassName",
        ),
        (
            'pod rejected: RuntimeClass "nvidia" not found',
            {"workers": {"nodes": 2, "gpusPerNode": 0, "runtimeClassName": "nvidia"}},
            "RuntimeClassNotFound",
            "workers.runtimeClassName",
        ),
    ],
)
def test_a_class_that_is_missing_is_told(
    words: str, of: dict[str, Any], reason: str, field: str
) -> None:
    words = f'Error creating: pods "digits-0-" is forbidden: {words}'
    failures = [CreationFailure(world.NOW, words)]
    image = {"workers": world.raw()["spec"]["workers"]}
    workers = image | {"workers": image["workers"] | of.get("workers", {})}
    found = creation_cause(world.run(**(of | workers)), failures, world.NOW)
    assert found is not None
    assert (found.reason, field in found.message) == (reason, True)
    other = creation_cause(world.run(), failures, world.NOW)  # a webhook's choice
    assert other is not None
    assert other.reason == "PodsNotCreated"


def test_creating_containers_are_no_trouble() -> None:
    assert waiting_cause(world.run(), [world.waiting(0, "ContainerCreating")]) is None


def record(reason: str, message: str = "words") -> str:
    return json.dumps({"state": "failed", "failure": {"reason": reason, "message": message}})


def evicted() -> Pod:
    return pod_of(world.raw_pod(0, phase="Failed", reason="Evicted", message="low on memory"))


@pytest.mark.parametrize(
    ("pods", "reason", "words"),
    [
        ([world.ended(0, 1, record("NumericalError"))], "NumericalError", "words"),
        ([world.ended(0, 66)], "NotFound", "teacher"),
        ([world.ended(0, 71)], "OutOfMemory", "microBatchSize"),
        ([world.ended(0, 137, reason="OOMKilled")], "OutOfMemory", "limits.memory"),
        ([world.ended(0, 1, "Traceback: boom")], "Error", "boom"),
        ([world.ended(0, 128, "no such file", reason="StartError")], "ContainerCannotStart", "?"),
        ([evicted()], "Evicted", "low on memory"),
        # Who lost a peer is not the cause, however early.
        (
            [world.ended(0, 80, ago=9), world.ended(1, 1, record("OutOfMemory"), ago=3)],
            "OutOfMemory",
            "words",
        ),
        ([world.ended(0, 80, ago=9), world.ended(1, 81, ago=3)], "Stalled", "hangs"),
        # Permanent causes come before those that may be retried.
        ([world.ended(0, 79, ago=9), world.ended(1, 77, ago=3)], "AccessDenied", "refused"),
        # Otherwise the first to fail.
        (
            [world.ended(0, 1, record("Error", "late"), ago=1), world.ended(1, 79, ago=9)],
            "StorageUnavailable",
            "storage",
        ),
    ],
)
def test_the_cause_of_a_gangs_failure(pods: list[Pod], reason: str, words: str) -> None:
    cause = pod_cause(pods)
    assert cause is not None
    assert cause.reason == reason
    assert words in cause.message


def test_a_replaced_pod_is_not_blamed() -> None:
    old = world.ended(0, 1, record("Error"))
    assert pod_cause([old, world.ready(0, suffix="b", age=3)]) is None


def test_the_jobs_own_words_are_the_last_resort() -> None:
    message = "Container trainer for pod team/digits-1-x failed with exit code 77 matching FailJob"
    failed = (world.condition("Failed", "PodFailurePolicy", message),)
    verdict, cause = job_failure(world.run(), world.job(conditions=failed), [], None)
    assert verdict == cause
    assert (cause.reason, cause.pod) == ("AccessDenied", "digits-1-x")


def test_foreign_text_is_cleaned_and_cut() -> None:
    assert printable("a\x1b[31mb\n\tc\x00") == "a [31mb c"
    cut = printable("x" * 5000)
    assert len(cut) == 700
    assert cut.startswith("…")
