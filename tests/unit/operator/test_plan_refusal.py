"""Objects that the API server would not take: told with the remedy, tried again, forgotten."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from sid_operator.api.status import SiDDistillationStatus
from sid_operator.plan import refusal
from sid_operator.plan.decide import plan
from sid_operator.plan.model import Plan, Refusal, status_json
from tests.unit.operator import world
from tests.unit.operator.world import NOW

POLICY = (
    "jobs.batch \"digits\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied "
    "request: no jobs on Fridays"
)
ROLE = (
    'jobs.batch "digits" is forbidden: User "system:serviceaccount:a:b" cannot patch resource '
    '"jobs" in API group "batch" in the namespace "team"'
)
WEBHOOK = (
    'Internal error occurred: failed calling webhook "a.b": failed to call webhook: Post '
    '"https://a.b.svc:443/x?timeout=10s": read tcp 10.0.0.1:{port}->10.0.0.2:443: reset by peer'
)
DONE = world.condition("Complete")
REMEDIES = {
    "policy": (Refusal("Job", "digits", POLICY), "Change the resource to what the cluster allows"),
    "role": (Refusal("Job", "digits", ROLE), "upgrade its chart"),
    "webhook": (
        Refusal("Job", "digits", WEBHOOK.format(port=1), unanswered=True),
        "Ask the administrator of the cluster about that webhook",
    ),
}


def refused(of: Refusal, **parts: Any) -> Plan:
    """The first plan of a run whose Job was refused."""
    return plan(world.resource(), world.observed(job=None, refusal=of, **parts), NOW)


@pytest.mark.parametrize(("of", "remedy"), REMEDIES.values(), ids=REMEDIES)
def test_the_words_and_the_remedy_are_told(of: Refusal, remedy: str) -> None:
    made = refused(of)
    assert world.told(made)["Accepted"] == ("False", "RefusedByApiServer")
    assert world.told(made)["PodsReady"] == ("False", "RefusedByApiServer")
    assert made.status.failure is not None
    (notice,) = made.notices
    for message in (made.status.failure.message, notice.message):
        assert of.details[:40] in message
        assert remedy in message
    assert (notice.type, notice.reason) == ("Warning", "RefusedByApiServer")


@pytest.mark.parametrize(("of", "remedy"), REMEDIES.values(), ids=REMEDIES)
def test_a_status_that_is_refused_has_an_event_with_words_and_remedy(
    of: Refusal, remedy: str
) -> None:
    notice = refusal.status_notice(of)
    assert (notice.type, notice.reason) == ("Warning", "StatusRefused")
    assert of.details[:40] in notice.message
    assert remedy in notice.message
    others = refusal.status_notice(Refusal(of.kind, of.name, "in other words"))
    assert others.known_by == notice.known_by


def test_a_long_refusal_keeps_its_beginning_and_the_remedy() -> None:
    made = refused(Refusal("Job", "digits", POLICY + "!" * 5000 + "\x00"))
    (notice,) = made.notices
    assert len(notice.message) < 1000
    assert "ValidatingAdmissionPolicy 'p'" in notice.message
    assert notice.message.endswith("tries again by itself.")


def test_the_same_refusal_is_told_once() -> None:
    made = refused(Refusal("Job", "digits", WEBHOOK.format(port=40_001), unanswered=True))
    other_port = Refusal("Job", "digits", WEBHOOK.format(port=40_002), unanswered=True)
    again = world.followed(made, world.observed(job=None, refusal=other_port))
    assert again.notices == ()
    assert again.status == made.status


def test_it_is_forgotten_when_it_passes() -> None:
    healed = world.followed(refused(Refusal("Job", "digits", POLICY)), world.observed())
    assert world.told(healed)["Accepted"] == ("True", "Accepted")
    assert healed.status.failure is None


def test_a_change_that_is_refused_leaves_the_run_alone() -> None:
    pods = (world.ready(0), world.ready(1))
    training = world.observed(pods=pods, report=world.report())
    running = world.followed(plan(world.resource(), training, NOW), training)
    seen = world.observed(pods=pods, report=world.report(), refusal=REMEDIES["policy"][0])
    made = world.followed(running, seen)
    assert world.told(made)["Accepted"] == ("False", "RefusedByApiServer")
    assert world.told(made)["Running"] == ("True", "Training")
    assert made.status.phase == "Running"


@pytest.mark.parametrize(
    ("known_for", "seconds"), [(0, 5), (2, 5), (7, 7), (60, 60), (299, 299), (3000, 300)]
)
def test_it_is_tried_again_ever_more_rarely(known_for: int, seconds: int) -> None:
    made = refused(REMEDIES["policy"][0])
    later = NOW + timedelta(seconds=known_for)
    assert refusal.retried_after(made.status.conditions, later) == seconds
    seen = world.observed(job=None, refusal=REMEDIES["policy"][0])
    again = plan(world.resource(status_json(made.status)), seen, later)
    assert again.look_again_after == seconds


def test_the_first_refusal_of_a_run_that_was_accepted_is_tried_again_soon() -> None:
    accepted = plan(world.resource(), world.observed(), NOW - timedelta(hours=1)).status
    assert refusal.retried_after(accepted.conditions, NOW) == 5
    assert refusal.retried_after(SiDDistillationStatus().conditions, NOW) == 5


def test_what_is_refused_after_the_end_is_told_too() -> None:
    spec = {"runPolicy": {"ttlSecondsAfterFinished": 0}}
    over = plan(world.resource(**spec), world.observed(job=world.job(conditions=(DONE,))), NOW)
    refusing = world.observed(refusal=Refusal("SiDDistillation", world.NAME, POLICY))
    made = world.followed(over, refusing, **spec)
    assert made.status.phase == "Succeeded"
    assert world.told(made)["Accepted"] == ("False", "RefusedByApiServer")
    assert [notice.reason for notice in made.notices] == ["RefusedByApiServer"]
    assert made.look_again_after == 5
    assert world.followed(made, refusing, **spec).notices == ()
    passed = world.followed(made, world.observed(), **spec)
    assert world.told(passed)["Accepted"] == ("True", "Accepted")
