"""``plan``: runs that cannot begin, and runs that fail for good."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sid_operator.api.conditions import Phase
from sid_operator.plan.model import (
    Observed,
    Plan,
)
from tests.unit.operator import world


def test_a_spec_that_cannot_be_run_is_told() -> None:
    made = world.first(Observed(), training={"iterations": 5, "batchSize": 63})
    assert made.actions == ()
    assert world.told(made)["Accepted"] == ("False", "InvalidSpec")
    assert made.status.failure is not None
    assert "batchSize" in made.status.failure.message


def test_no_image_is_told() -> None:
    made = world.first(Observed(), workers={"nodes": 2, "gpusPerNode": 0})
    assert made.status.failure is not None
    assert "workers.image" in made.status.failure.message


def test_a_phase_alone_ends_no_run() -> None:
    forged = {"phase": "Failed", "failure": {"reason": "Other", "message": "so they say"}}
    made = world.first(Observed(), status=forged)
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
    dead = world.first(world.observed(of, job=over, pods=pods), **spec)
    assert world.told(dead)["Failed"] == ("True", verdict)
    assert dead.status.failure is not None
    assert dead.status.failure.reason == cause
    assert words in dead.status.conditions[-1].message
