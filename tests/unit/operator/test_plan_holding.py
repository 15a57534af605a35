"""``plan``: a pod whose trainer has ended and whose sidecar goes on is told as that."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sid_operator.api.conditions import Phase
from sid_operator.plan.decide import plan
from sid_operator.plan.model import Plan, status_json
from sid_operator.plan.pods import Pod
from tests.unit.operator import world
from tests.unit.operator.world import NOW


def held(index: int, code: int = 0, *, ago: float = 60, message: str = "") -> Pod:
    return world.ended(index, code, message, ago=ago, sidecar="istio-proxy")


def both(code: int = 0, *, ago: float = 60) -> tuple[Pod, ...]:
    return held(0, code, ago=ago), held(1, code, ago=ago)


def test_a_run_that_is_done_is_not_told_as_training(running: Plan) -> None:
    soon = world.followed(running, world.observed(pods=both(ago=20)))
    assert world.told(soon)["Running"] == ("True", "Training")
    assert soon.status.failure is None
    assert soon.look_again_after == 40
    kept = world.followed(soon, world.observed(pods=both()))
    assert world.told(kept)["Running"] == ("False", "HeldBySidecar")
    assert world.told(kept)["PodsReady"] == ("False", "HeldBySidecar")
    assert kept.status.phase is Phase.RUNNING
    (notice,) = kept.notices
    assert (notice.type, notice.reason) == ("Warning", "HeldBySidecar")
    assert "trainer of pod digits-0-a has ended well" in notice.message
    assert "goes on: istio-proxy. Keep it out by workers.podLabels" in notice.message
    again = world.followed(kept, world.observed(pods=both()))
    assert (again.notices, status_json(again.status)) == ((), status_json(kept.status))
    later = plan(
        world.resource(status_json(kept.status)),
        world.observed(pods=both()),
        NOW + timedelta(days=1),
    )
    assert "Stalled" not in world.told(later)
    assert later.look_again_after == 600


@pytest.mark.parametrize("others", [held(0, 80, ago=70), world.ready(0)], ids=["ended", "waits"])
def test_a_run_that_failed_for_good_is_not_told_as_ending(running: Plan, others: Pod) -> None:
    """Whoever was there first: what explains the others is told."""
    kept = world.followed(running, world.observed(pods=(others, held(1, 78))))
    assert world.told(kept)["Running"] == ("False", "HeldBySidecar")
    assert kept.status.failure is not None
    assert kept.status.failure.pod == "digits-1-a"
    assert "has failed (InvalidConfiguration: " in kept.status.failure.message
    over = world.job(conditions=(world.condition("FailureTarget", "PodFailurePolicy"),))
    ended = world.followed(kept, world.observed(job=over, pods=(others, world.ended(1, 78))))
    assert world.told(ended)["Failed"] == ("True", "InvalidConfiguration")


def test_a_pod_that_is_not_replaced_is_told_with_why_it_failed(running: Plan) -> None:
    pods = (world.ready(0), held(1, 137, ago=20))
    restarting = world.followed(running, world.observed(pods=pods))
    assert restarting.status.phase is Phase.RESTARTING
    kept = world.followed(restarting, world.observed(pods=(world.ready(0), held(1, 137))))
    assert world.told(kept)["Running"] == ("False", "HeldBySidecar")
    assert kept.status.phase is Phase.RESTARTING
    assert kept.status.last_failure == restarting.status.last_failure
    back = (world.ready(0), world.ready(1, suffix="b", age=3))
    news = world.report(attempt=2, iteration=200, time=NOW)
    trained = world.followed(kept, world.observed(pods=back, report=news))
    assert (trained.status.phase, trained.status.failure) == (Phase.RUNNING, None)


def test_a_rank_that_has_ended_before_the_others_does_not_end_the_run(running: Plan) -> None:
    exporting = world.report(stage="exporting", iteration=500, time=NOW)
    seen = world.observed(pods=(world.ready(0), held(1)), report=exporting)
    told = world.told(world.followed(running, seen))
    assert told["Running"] == ("True", "Training")
    assert told["PodsReady"] == ("False", "HeldBySidecar")


def test_the_remedy_is_told_however_much_the_trainer_said(running: Plan) -> None:
    pods = (held(0, 78, message="words " * 400), world.ready(1))
    failure = world.followed(running, world.observed(pods=pods)).status.failure
    assert failure is not None
    assert failure.message.endswith("what is trained is kept.")


def test_what_ends_with_the_trainer_is_not_waited_for(running: Plan) -> None:
    """A native sidecar, and a pod that is deleted."""
    seen = world.observed(pods=(world.ended(0, 0, ago=600), world.ended(1, 0, ago=600)))
    assert world.followed(running, seen).status.failure is None
    leaving = (held(0), world.ended(1, 0, ago=600, gone=True, sidecar="istio-proxy"))
    told = world.followed(running, world.observed(pods=leaving)).status.failure
    assert told is not None
    assert told.pod == "digits-0-a"
