"""A spec that is changed when the run is over: observed, told once, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from sid_operator.plan.decide import plan
from sid_operator.plan.model import Child, Observed, Plan, status_json
from tests.unit.operator import world
from tests.unit.operator.world import NOW

Spec = dict[str, Any]
LONGER: Spec = {"training": {"iterations": 900, "batchSize": 64}}
ENDS = {"Complete": world.condition("Complete"), "Failed": world.condition("Failed", "Other")}


def over(end: str = "Complete", **parts: Any) -> Observed:
    """What is left of a run that has ended."""
    return world.observed(**({"job": world.job(conditions=(ENDS[end],))} | parts))


def edited(before: Plan, seen: Observed, generation: int = 2, **spec: Any) -> Plan:
    """The plan after the end and a change of the spec."""
    obj = world.raw(status_json(before.status), **spec)
    obj["metadata"]["generation"] = generation
    return plan(world.read(obj), seen, NOW)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize(
    ("spec", "vain"),
    [
        (LONGER, True),
        ({"runPolicy": {"activeDeadlineSeconds": 9000}}, True),
        ({"runPolicy": {"backoffLimit": 9}}, True),
        ({"training": {"iterations": 5, "batchSize": 63}}, True),  # not even valid
        ({"runPolicy": {"ttlSecondsAfterFinished": 9000}}, False),
        ({"deletionPolicy": "Retain"}, False),
        ({}, False),
    ],
)
def test_a_change_is_observed_and_told_where_it_has_no_effect(
    end: str, spec: Spec, vain: bool
) -> None:
    done = plan(world.resource(), over(end), NOW)
    later = edited(done, over(end), **spec)
    assert later.actions == ()
    assert later.status.observed_generation == 2
    assert {one.observed_generation for one in later.status.conditions} == {2}
    assert later.status.phase == done.status.phase
    assert world.told(later)[end] == world.told(done)[end]
    assert world.told(later)["Accepted"] == ("True", "NoEffect" if vain else "Accepted")
    assert [(one.type, one.reason) for one in later.notices] == [("Warning", "NoEffect")] * vain
    again = edited(later, over(end), **spec)
    assert again.notices == ()
    assert again.status == later.status


def test_the_way_on_is_told() -> None:
    done = plan(world.resource(), over(), NOW)
    (notice,) = edited(done, over(), **LONGER).notices
    assert "delete the resource and create it again" in notice.message
    assert "Retain" not in notice.message
    (notice,) = edited(done, over(), **LONGER, deletionPolicy="Delete").notices
    assert "Set deletionPolicy to Retain before" in notice.message


def test_each_change_is_told_and_one_that_is_taken_back_is_forgotten() -> None:
    done = plan(world.resource(), over(), NOW)
    first = edited(done, over(), **LONGER)
    second = edited(first, over(), 3, training={"iterations": 950, "batchSize": 64})
    known = {notice.known_by for made in (first, second) for notice in made.notices}
    assert len(known) == 2
    back = edited(second, over(), 4)
    assert back.notices == ()
    assert world.told(back)["Accepted"] == ("True", "Accepted")


def test_what_was_run_is_known_without_the_job() -> None:
    done = plan(world.resource(), over(), NOW)
    assert edited(done, over(job=None)).notices == ()
    assert edited(done, over(job=None), **LONGER).notices != ()
    foreign = over(job=None, config_map=Child("x", ours=False))
    assert edited(done, foreign, **LONGER).notices == ()
    assert edited(done, foreign, **LONGER).status.observed_generation == 2


def test_a_condition_of_a_newer_version_is_left_as_it_was() -> None:
    done = status_json(plan(world.resource(), over(), NOW).status)
    done["conditions"].append(world.condition("Newer", "Known") | {"observedGeneration": 1})
    obj = world.raw(done)
    obj["metadata"]["generation"] = 2
    told = plan(world.read(obj), over(), NOW).status.conditions
    assert [one.type for one in told if one.observed_generation == 1] == ["Newer"]
