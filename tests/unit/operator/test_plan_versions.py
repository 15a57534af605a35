"""``plan``: runs go on across versions of the operator and of the CRD."""

from __future__ import annotations

import dataclasses

import pytest

from sid_operator.kube.kinds import CONFIG_MAPS, JOBS
from sid_operator.plan.decide import plan
from sid_operator.plan.model import (
    Apply,
)
from sid_operator.plan.resource import resource_of
from sid_operator.resources.cleanup import cleanup_job
from sid_operator.resources.config_map import config_map
from sid_operator.resources.job import job
from sid_operator.resources.run import Installed, Run
from tests.unit.operator import world
from tests.unit.operator.world import NOW


def test_another_operator_version_does_not_touch_a_run_that_goes_on() -> None:
    """The hash follows what the user wrote, so a new default image changes nothing."""
    spec = {"workers": {"nodes": 2, "gpusPerNode": 0}}
    raw = world.raw(**spec)
    before = resource_of(raw, default=Installed("trainer:1")).run
    after = resource_of(raw, default=Installed("trainer:2"))
    assert plan(after, world.observed(before), NOW).actions == ()


@pytest.mark.parametrize("content", ["", "of an earlier version"])
def test_a_job_is_made_with_the_configuration_of_its_own_version(content: str) -> None:
    """After an upgrade the spec is the same, but what is read from it may be spelt otherwise."""
    before = world.child(config_map(world.run()))
    old = dataclasses.replace(before, content=content)
    made = world.first(world.observed(job=None, config_map=old)).actions
    assert [action.kind for action in made] == [CONFIG_MAPS, JOBS]
    assert isinstance(made[0], Apply)
    assert not made[0].creates
    # The pods of a Job that is there read what their own version wrote.
    assert world.first(world.observed(config_map=old)).actions == ()
    suspended = world.observed(job=None, config_map=old)
    assert world.first(suspended, runPolicy={"suspend": True}).actions == ()


def test_a_condition_of_a_newer_version_is_left_alone() -> None:
    """An operator that was rolled back finds what it does not know."""
    newer = world.condition("NewerThanThis", "Known", "words") | {"observedGeneration": 1}
    now = plan(world.resource({"conditions": [newer]}), world.observed(), world.NOW)
    assert now.status.conditions[-1].type == "NewerThanThis"
    assert now.status.conditions[0].type == "Accepted"


def test_a_field_of_a_newer_crd_is_passed_over() -> None:
    raw = world.raw()
    raw["spec"]["checkpoint"]["madeLater"] = "auto"
    raw["spec"]["madeLater"] = {"enabled": True}
    read = resource_of(raw, default=Installed())
    assert read.problem == ""
    assert read.run == world.run()


def test_defaults_that_an_earlier_crd_wrote_into_lists_change_no_child() -> None:
    volume = {"name": "models", "claimName": "weights", "mountPath": "/mnt/models"}
    toleration, pool = {"key": "gpu", "value": "sid"}, {"key": "pool", "values": ["sid"]}
    base = world.raw()["spec"]["workers"]

    def of(volume: object, toleration: object, pool: object) -> Run:
        items = {"volumes": [volume], "tolerations": [toleration], "nodeAffinity": [pool]}
        return world.run(workers=base | items)

    bare = of(volume, toleration, pool)
    stored = of(
        volume | {"readOnly": True}, toleration | {"operator": "Equal"}, pool | {"operator": "In"}
    )
    for build in (config_map, job, cleanup_job):
        assert build(bare) == build(stored)
