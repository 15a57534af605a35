"""``runPolicy.backoffLimit`` is how often each pod may fail, whatever befell the others."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from sid_operator.plan.decide import plan
from sid_operator.plan.jobs import Job
from sid_operator.plan.model import Merge
from sid_operator.plan.pods import Pod, pod_of
from sid_operator.plan.wear import ENDING
from sid_operator.resources.job import policy_patch
from tests.unit.operator import world
from tests.unit.operator.world import NOW

SPEC: dict[str, Any] = {"runPolicy": {"backoffLimit": 2}}
OF = world.run(**SPEC)
JOB = world.job(OF)
LATE = {"status": "True", "type": "DisruptionTarget", "reason": "EvictionByEvictionAPI"}


def failed(index: int, times: int, code: int = 1, **status: Any) -> tuple[Pod, ...]:
    """The pods of an index that failed, one after the other."""
    return tuple(
        dataclasses.replace(world.ended(index, code, **status), name=f"digits-{index}-{time}")
        for time in range(times)
    )


def disrupted(index: int, times: int) -> tuple[Pod, ...]:
    raw = world.raw_pod(index, phase="Failed", conditions=[LATE])
    return (pod_of(raw),) * times


def patches(pods: tuple[Pod, ...], job: Job = JOB, **spec: Any) -> list[Any]:
    """How the Job is changed."""
    wanted = SPEC | spec
    seen = world.observed(world.run(**wanted), job=job, pods=pods)
    actions = plan(world.resource(**wanted), seen, NOW).actions
    return [action.patch for action in actions if isinstance(action, Merge)]


CASES = {
    "one pod as often as it may": (failed(1, 2), False),
    "one pod once more": (failed(1, 3), True),
    "each pod as often as it may": (failed(0, 2) + failed(1, 2), False),
    "a pod and all others": (failed(0, 1) + failed(1, 3), True),
    "no container told": ((pod_of(world.raw_pod(0, phase="Failed")),) * 3, True),
    "told to end": (failed(1, 9, 143), False),
    "taken away": (disrupted(1, 9), False),
    "beside one that ended well": ((*failed(1, 2), world.ended(1, 0)), False),
}


@pytest.mark.parametrize(("pods", "ends"), CASES.values(), ids=CASES)
def test_a_run_ends_when_one_pod_failed_too_often(pods: tuple[Pod, ...], ends: bool) -> None:
    assert patches(pods) == [ENDING] * ends


def test_the_job_itself_stands_no_less_than_that() -> None:
    """So that it never ends a run by itself that the limit would let go on."""
    assert JOB.backoff_limit == 2 * OF.spec.workers.nodes
    assert JOB.pod_limit == 2


def test_a_job_that_is_being_ended_is_left_alone() -> None:
    assert patches(failed(1, 3), dataclasses.replace(JOB, backoff_limit=0)) == []


def test_the_limit_of_a_run_that_goes_on_may_be_raised() -> None:
    """Before it counts, though a pod has failed too often by the former one."""
    raised = SPEC | {"runPolicy": {"backoffLimit": 4}}
    (patch,) = patches(failed(1, 3), **raised)
    assert patch == policy_patch(world.run(**raised), queued=False, by_pod=True)
    assert patch["spec"]["backoffLimit"] == 8
    assert patch["metadata"]["annotations"]["sid-dit.dev/backoff-limit"] == "4"
    assert patches(failed(1, 3), world.job(world.run(**raised)), **raised) == []


def test_a_job_of_an_earlier_version_goes_on_by_its_own_limit() -> None:
    """It may have had more failures of one pod, which an upgrade must not count against it."""
    earlier = dataclasses.replace(JOB, pod_limit=None)
    assert patches(failed(1, 9), earlier) == []
    (patch,) = patches(failed(1, 9), earlier, runPolicy={"backoffLimit": 4})
    assert list(patch["metadata"]["annotations"]) == ["sid-dit.dev/policy-hash"]


@pytest.mark.parametrize("pod_limit", [2, None])
def test_the_message_tells_the_limit_of_the_job(pod_limit: int | None) -> None:
    """Whatever the spec says by then, and though the Job's own was lowered to end it."""
    over = world.condition("Failed", "BackoffLimitExceeded")
    limit = 0 if pod_limit is not None else 4
    ended = dataclasses.replace(
        world.job(OF, conditions=(over,), backoffLimit=limit), pod_limit=pod_limit
    )
    later = SPEC | {"runPolicy": {"backoffLimit": 7}}
    seen = world.observed(world.run(**later), job=ended, pods=failed(1, 3))
    made = plan(world.resource(**later), seen, NOW)
    (told,) = [one.message for one in made.status.conditions if one.type == "Failed"]
    assert told.startswith("A pod failed more often than runPolicy.backoffLimit (2) allows.")
