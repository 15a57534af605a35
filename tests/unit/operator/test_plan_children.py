"""``plan``: children are made, kept right and replaced; those of others are not touched."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from sid_operator.api.conditions import Phase
from sid_operator.kube.kinds import CONFIG_MAPS, JOBS, SERVICES
from sid_operator.plan.jobs import Cleanup
from sid_operator.plan.model import (
    Apply,
    Child,
    Delete,
    Merge,
    Observed,
    Plan,
    Stray,
    Try,
)
from tests.unit.operator import world


def test_a_new_resource_gets_its_children_in_order() -> None:
    made = world.first(Observed())
    assert [a.kind for a in made.actions] == [CONFIG_MAPS, SERVICES, JOBS]
    assert all(isinstance(a, Apply) and a.creates for a in made.actions)
    assert made.notices == ()
    assert made.status.phase is Phase.PENDING
    assert world.told(made)["Accepted"] == ("True", "Accepted")


def test_the_first_job_is_told_once() -> None:
    made = world.first(world.observed())
    assert [n.message for n in made.notices] == ["Created Job digits with 2 pods."]
    assert world.followed(made, world.observed()).notices == ()


def test_children_that_are_right_are_left_alone() -> None:
    assert world.first(world.observed()).actions == ()


@pytest.mark.parametrize("missing", ["config_map", "service", "job"])
def test_a_missing_child_is_restored_and_told(missing: str, running: Plan) -> None:
    later = world.followed(running, world.observed(**{missing: None}))
    (action,) = later.actions
    assert isinstance(action, Apply)
    assert action.notice is not None
    assert action.notice.reason == "Restored"


def test_a_changed_spec_replaces_the_job_when_its_pods_are_gone(running: Plan) -> None:
    spec = {"workers": {"nodes": 2, "gpusPerNode": 0, "image": "example.org/other:2"}}
    seen = world.observed(pods=world.READY_PODS)
    changed = world.followed(running, seen, **spec)
    assert [type(a) for a in changed.actions] == [Try, Apply, Delete]
    assert changed.actions[2].notice is not None
    assert changed.actions[2].notice.reason == "Recreating"

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


@pytest.mark.parametrize(
    ("part", "child"),
    [
        ("config_map", Child("x", ours=False)),
        ("service", Child("x", ours=False)),
        ("job", dataclasses.replace(world.job(), ours=False)),
    ],
)
def test_what_belongs_to_others_is_not_touched(part: str, child: Any) -> None:
    made = world.first(world.observed(**{part: child}))
    assert made.actions == ()
    assert world.told(made)["Accepted"] == ("False", "NameConflict")
    assert made.look_again_after == 30
    assert [n.reason for n in made.notices] == ["NameConflict"]


def test_a_job_left_by_an_earlier_resource_of_the_name_is_waited_for() -> None:
    stale = dataclasses.replace(world.job(), ours=False, deleting=True)
    made = world.first(world.observed(job=stale))
    assert made.actions == ()
    assert world.told(made)["PodsReady"] == ("False", "Recreating")


@pytest.mark.parametrize("part", ["config_map", "service"])
@pytest.mark.parametrize("ours", [True, False])
def test_no_job_starts_beside_what_is_being_removed(part: str, ours: bool) -> None:
    """Its pods would read the configuration of an earlier resource of the name."""
    leaving = Child("x", ours=ours, deleting=True)
    made = world.first(world.observed(job=None, **{part: leaving}))
    assert made.actions == ()
    assert world.told(made)["PodsReady"] == ("False", "Recreating")
    gone = world.followed(made, world.observed(job=None, **{part: None}))
    assert len(gone.actions) == 2
    assert gone.actions[-1].kind is JOBS


def test_pods_of_an_earlier_job_are_waited_for() -> None:
    strays = (Stray("digits-0-x", "node-1"), Stray("digits-1-x"))
    seen = world.observed(job=None, strays=strays)
    made = world.first(seen)
    assert made.actions == ()
    ready = next(c for c in made.status.conditions if c.type == "PodsReady")
    assert ready.reason == "Recreating"
    assert "2, such as digits-0-x on node node-1. " in ready.message
    assert ready.message.index("out-of-service") < ready.message.index("--force")
    assert [a.kind.name for a in world.first(world.observed(job=None)).actions] == ["Job"]


def test_a_stuck_pod_is_told_rather_than_the_clean_up_that_waits_for_it() -> None:
    dormant = Cleanup(name="cleanup", uid="uid-of-cleanup", of_uid="uid-of-an-earlier-one")
    seen = world.observed(job=None, strays=(Stray("digits-0-x"),), cleanups=(dormant,))
    ready = next(c for c in world.first(seen).status.conditions if c.type == "PodsReady")
    assert ready.reason == "Recreating"
    assert "1, such as digits-0-x. " in ready.message
