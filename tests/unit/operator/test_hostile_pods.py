"""What an untrusted image may tell: whatever it is, the status stays small, valid and printable."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pydantic
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sid_operator.api.names import LABEL_DISTILLATION, LABEL_INDEX
from sid_operator.api.status import SiDDistillationStatus
from sid_operator.plan import progress
from sid_operator.plan.decide import plan
from sid_operator.plan.model import Observed, Plan, status_json
from sid_operator.plan.pods import pod_of
from sid_operator.runtime.store import Key, owner_of_pod
from sid_trainer.contract import ProgressReport
from tests.unit.operator import world
from tests.unit.operator.world import NOW

RESOURCE = world.resource()
JOB = world.job()
ESCAPES = st.sampled_from(["\x1b[2J", "\x1b]0;x\x07", "\r\n", "\u202e", "\x00", "\ud800", "\u200b"])
TEXT = st.lists(st.text(max_size=20) | ESCAPES, max_size=4).map("".join)
NUMBER = st.one_of(
    st.integers(-(2**80), 2**80), st.floats(), st.sampled_from([1e308, -1e308, 5e-324])
)
TIME = st.sampled_from(
    [
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "2026-11-01T12:00:00",
        "2026-11-01T12:00:00Z",
        "now",
    ]
)
JUNK = TEXT | NUMBER | st.none() | st.lists(st.integers(), max_size=2)
REPORT = st.fixed_dictionaries(
    {
        "attempt": st.integers(1, 2**80),
        "stage": st.sampled_from(["loading", "training", "done"]),
        "iterations": st.integers(1, 2**80),
        "time": TIME,
    },
    optional={
        "iteration": st.integers(0, 2**80) | JUNK,
        "images": NUMBER,
        "imagesPerSecond": NUMBER,
        "etaSeconds": NUMBER | st.none(),
        "metrics": st.dictionaries(TEXT | st.just("generatorLoss"), NUMBER, max_size=5),
        "checkpoint": st.fixed_dictionaries(
            {"uri": TEXT, "iteration": st.integers(0, 2**80), "time": TIME}
        ),
        "checkpointProblem": TEXT,
        "samplesUri": TEXT,
        "studentUri": TEXT,
        "podSpec": JUNK,
    },
)


def strings(value: Any) -> Iterator[str]:
    """All texts in a JSON value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)


def fit_to_be_written(plan: Plan) -> None:
    """The status is one that the API server takes, and no text in it can move a cursor."""
    written = status_json(plan.status)
    assert SiDDistillationStatus.model_validate(written) == plan.status
    assert len(json.dumps(written, allow_nan=False)) < 20_000
    told = [*strings(written), *(notice.message for notice in plan.notices)]
    assert [text for text in told if not text.isprintable()] == []
    assert all(len(notice.message) <= 1024 for notice in plan.notices)


def parsed(report: dict[str, Any]) -> ProgressReport:
    """The report as the operator reads it from the wire; others are no report at all."""
    try:
        body = json.dumps(report).encode()
        return ProgressReport.model_validate_json(body)
    except pydantic.ValidationError:
        assume(condition=False)
        raise


@settings(max_examples=60, deadline=None)
@given(REPORT)
def test_a_report_from_rank_zero(report: dict[str, Any]) -> None:
    pods = (world.ready(0), world.ready(1))
    observed = Observed(job=JOB, pods=pods, report=parsed(report))
    fit_to_be_written(plan(RESOURCE, observed, NOW))


@settings(max_examples=60, deadline=None)
@given(
    REPORT,
    st.sampled_from(["failed", "running"]) | TEXT,
    TEXT,
    st.integers(0, 255),
    st.integers(0, 4096),
)
def test_a_termination_message(
    report: dict[str, Any], state: str, message: str, code: int, length: int
) -> None:
    record = {
        "state": state,
        "progress": report,
        "failure": {"reason": "OutOfMemory", "message": message, "rank": 2**70},
    }
    for text in (json.dumps(record), json.dumps(record)[:length], message, "[" * 4096):
        ended = {"exitCode": code, "finishedAt": world.at(1), "message": text}
        pod = pod_of(world.raw_pod(0, phase="Failed", containerStatuses=[_container(ended)]))
        observed = Observed(job=JOB, pods=(pod, world.ready(1)))
        fit_to_be_written(plan(RESOURCE, observed, NOW))


def _container(terminated: dict[str, Any]) -> dict[str, Any]:
    return {"name": "trainer", "image": "i", "state": {"terminated": terminated}}


def test_control_characters_of_a_uri_do_not_reach_the_status() -> None:
    report = world.report(student_uri="s3://sid/\x1b[2Jstudent")
    status = progress.merged(SiDDistillationStatus(), report, [], NOW)
    assert status.student is not None
    assert status.student.uri == "s3://sid/ [2Jstudent"


@pytest.mark.parametrize(
    "change",
    [
        {"ownerReferences": []},
        {"ownerReferences": [{"kind": "ReplicaSet", "name": "digits", "controller": True}]},
        {"ownerReferences": [{"kind": "Job", "name": "other", "controller": True}]},
        {"labels": {LABEL_DISTILLATION: "digits", LABEL_INDEX: "first"}},
        {"labels": {LABEL_DISTILLATION: "digits"}},
    ],
)
def test_a_pod_that_only_bears_our_label_is_not_looked_at(change: dict[str, Any]) -> None:
    raw = world.raw_pod(0)
    assert owner_of_pod(raw) == Key(world.NAMESPACE, world.NAME)
    raw["metadata"] |= change
    assert owner_of_pod(raw) is None
