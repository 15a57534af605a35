"""From any state, repeated planning comes to rest, and then writes and tells nothing."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sid_operator.api.names import ANNOTATION_QUEUE, ANNOTATION_SELF
from sid_operator.api.status import SiDDistillationStatus
from sid_operator.plan.decide import plan
from sid_operator.plan.jobs import Cleanup, Job, cleanup_of
from sid_operator.plan.model import (
    Action,
    Apply,
    Child,
    Delete,
    Merge,
    Observed,
    Plan,
    Resource,
    Stray,
    Try,
    status_json,
)
from sid_operator.plan.nodes import GpuNode, Nodes
from sid_operator.plan.pods import Pod
from sid_operator.resources.cleanup import cleanup_job
from sid_operator.resources.metadata import policy_hash, run_hash
from tests.unit.operator import world
from tests.unit.operator.world import NOW

_CLEANUP = cleanup_job(world.run(deletionPolicy="Delete"))
_GPUS: dict[str, Any] = {"nodes": 2, "gpusPerNode": 1, "image": world.IMAGE}
ROUNDS = 6
"""Writes that may be needed: recreate, create, tell; then rest."""

_child = st.sampled_from(
    [
        *(None, Child("", ours=True), Child("old", ours=True), Child("x", ours=False)),
        *(Child(run_hash(world.run()), ours=True, content=kept) for kept in ("", "old")),
        *(Child("old", ours=True, deleting=True), Child("x", ours=False, deleting=True)),
    ]
)
_reports = st.none() | st.builds(
    world.report,
    attempt=st.integers(1, 2**70),
    stage=st.sampled_from(["loading", "encoding", "training", "exporting", "done"]),
    iteration=st.integers(0, 2**70),
    iterations=st.integers(1, 2**70),
    images_per_second=st.floats(allow_nan=False, allow_infinity=False),
    eta_seconds=st.none() | st.integers(0, 2**70),
    time=st.datetimes(),
    metrics=st.dictionaries(
        st.text(max_size=64), st.floats(allow_nan=False, allow_infinity=False), max_size=3
    ),
)
_words = st.one_of(
    st.text(max_size=200),
    st.sampled_from(
        [
            json.dumps({"state": "failed", "failure": {"reason": "NotFound", "message": "gone"}}),
            json.dumps({"state": "succeeded"}),
            '{"state": "failed"',
            "[" * 5000,
        ]
    ),
)


_unplaced = st.sampled_from(
    [
        {"schedulerName": "elsewhere"},
        {"schedulingGates": [{"name": "example.org/gate"}]},
        {"held": world.condition("PodScheduled", "Unschedulable", "no node", status="False")},
    ]
)


@st.composite
def _pods(draw: st.DrawFn) -> tuple[Pod, ...]:
    kinds = draw(st.lists(st.integers(0, 4), max_size=4))
    pods = []
    for position, kind in enumerate(kinds):
        index, suffix = position % 2, "ab"[position // 2]
        if kind == 0:
            pod = world.ready(index, since=draw(st.floats(0, 1000)), suffix=suffix)
        elif kind == 1:
            reason = draw(st.sampled_from(["ContainerCreating", "ErrImagePull", "StartError"]))
            pod = world.waiting(index, reason, draw(st.text(max_size=50)))
        elif kind == 2:
            pod = world.unplaced(index, **draw(_unplaced), age=draw(st.floats(0, 1000)))
        else:
            code = draw(st.sampled_from([0, 1, 65, 66, 78, 79, 80, 137, 143, 255]))
            pod = world.ended(
                index,
                code,
                draw(_words),
                gone=draw(st.booleans()),
                sidecar=draw(st.sampled_from(["", "proxy"])),
                ago=draw(st.floats(0, 1000)),
            )
        pods.append(pod)
    return tuple(pods)


@st.composite
def _jobs(draw: st.DrawFn) -> Job | None:
    job = world.job()
    choice = draw(st.integers(0, 12))
    reason = draw(st.sampled_from(["BackoffLimitExceeded", "DeadlineExceeded", "", "Other"]))
    changed: dict[int, dict[str, Any]] = {
        0: {},
        1: {"ours": False},
        2: {"deleting": True},
        3: {"hash": "old"},
        4: {"policy_hash": "old"},
        5: {"suspended": True},
        6: {"complete": NOW},
        7: {"failed": NOW, "fail_reason": reason},
        9: {"failed": NOW, "fail_reason": reason, "hash": "old"},
        10: {"complete": NOW, "deleting": True, "hash": "old"},
        11: {"failed": NOW, "deleting": True, "deleted": NOW, "fail_reason": reason},
        12: {"queue": "default"},
    }
    return None if choice == 8 else dataclasses.replace(job, **changed[choice])


def _named(jobs: list[Cleanup]) -> tuple[Cleanup, ...]:
    """As the API server has them: no two of one name; the name goes by resource and hash."""
    by_name = {f"cleanup-{job.of_uid}-{job.hash}": job for job in jobs}
    return tuple(dataclasses.replace(job, name=name) for name, job in by_name.items())


_cleanups = st.lists(
    st.builds(
        Cleanup,
        name=st.just("cleanup"),
        uid=st.sampled_from(["uid-of-cleanup", "uid-of-another-cleanup"]),
        mark=st.sampled_from(["", "uid-of-cleanup", "uid-of-a-copied-one"]),
        of_uid=st.sampled_from([world.UID, "earlier"]),
        hash=st.sampled_from(["old", _CLEANUP["metadata"]["annotations"]["sid-dit.dev/hash"]]),
        noted_queue=st.sampled_from(["", "q"]),
        dormant=st.booleans(),
        finished=st.booleans(),
        deleting=st.booleans(),
    ),
    max_size=2,
    unique_by=lambda job: (job.uid, job.of_uid),
).map(_named)
_nodes = st.lists(
    st.builds(
        lambda memory, gpus: GpuNode(labels={}, taints=(), memory=memory, gpus=gpus, product="x"),
        memory=st.integers(1, 2**40),
        gpus=st.integers(0, 8),
    ),
    max_size=3,
)
_observations = st.builds(
    Observed,
    nodes=st.builds(Nodes, _nodes.map(tuple)) | st.builds(Nodes, problem=st.just("forbidden")),
    config_map=_child,
    service=_child,
    job=_jobs(),
    pods=_pods(),
    strays=st.sampled_from([(), (Stray("digits-0-x", "node-1"),)]),
    report=_reports,
    cleanups=_cleanups,
)
_specs = st.sampled_from(
    [
        {},
        {"runPolicy": {"suspend": True}},
        {"scheduling": {"queueName": "q"}},
        {"scheduling": {"queueName": "q"}, "runPolicy": {"suspend": True}},
        {"scheduling": {"queueName": "q", "workloadPriorityClass": "low"}},
        {"scheduling": {"queueName": "q", "workloadPriorityClass": "high"}},
        {"labels": {"team": "red"}, "annotations": {"a": "b"}},
        {"deletionPolicy": "Delete"},
        {"deletionPolicy": "Delete", "scheduling": {"queueName": "q"}},
        {"workers": {"nodes": 2, "gpusPerNode": 0}},
        {"training": {"batchSize": 3}},
        {"teacher": {"model": "black-forest-labs/FLUX.1-dev"}, "workers": _GPUS},
        {"workers": _GPUS, "runPolicy": {"roomCheck": "Warn"}},
        {"deepspeed": {"config": {"communication_data_type": "odd"}}, "workers": _GPUS},
    ]
)


def _after(seen: Observed, made: Plan, spec: dict[str, Any]) -> Observed:
    """What would be seen once the actions were carried out; deletions take one round."""
    changes: dict[str, Any] = {"pods": tuple(pod for pod in seen.pods if not pod.leaving)}
    children = {"job": seen.job, "config_map": seen.config_map, "service": seen.service}
    changes |= {part: None for part, child in children.items() if child and child.deleting}
    changes["cleanups"] = tuple(job for job in seen.cleanups if not job.deleting)
    names = {"ConfigMap": "config_map", "Service": "service", "Job": "job"}
    for action in made.actions:
        part = names[action.kind.name]
        if _of_cleanup(action):
            changes["cleanups"] = _cleanups_after(changes["cleanups"], action)
        elif isinstance(action, Delete):
            assert seen.job is not None
            changes[part] = dataclasses.replace(seen.job, deleting=True)
        elif isinstance(action, Merge):
            assert seen.job is not None
            fresh = policy_hash(world.run(**spec))
            changes[part] = dataclasses.replace(seen.job, policy_hash=fresh)
        elif isinstance(action, Apply):
            hash_of = action.manifest["metadata"]["annotations"]["sid-dit.dev/hash"]
            content = action.manifest["metadata"]["annotations"].get("sid-dit.dev/content", "")
            child = Child(hash_of, ours=True, content=content)
            changes[part] = world.job(world.run(**spec)) if part == "job" else child
    return dataclasses.replace(seen, **changes)


def _of_cleanup(action: Action) -> bool:
    held = isinstance(action, Apply | Try)
    name = action.manifest["metadata"]["name"] if held else action.name
    return "cleanup" in name


def _cleanups_after(held: tuple[Cleanup, ...], action: Action) -> tuple[Cleanup, ...]:
    if isinstance(action, Apply):
        made = json.loads(json.dumps(action.manifest))
        made["metadata"]["uid"] = "uid-of-the-new-one"
        assert action.marked
        return (*held, dataclasses.replace(cleanup_of(made), mark="uid-of-the-new-one"))
    change: dict[str, Any] = {"deleting": True}
    if isinstance(action, Merge):
        noted = action.patch["metadata"]["annotations"]
        change = {"mark": noted[ANNOTATION_SELF]} if ANNOTATION_SELF in noted else {}
        change |= {"noted_queue": noted[ANNOTATION_QUEUE] or ""} if not change else {}
    return tuple(
        dataclasses.replace(job, **change) if job.name == action.name else job for job in held
    )


@settings(max_examples=300, deadline=None)
@given(seen=_observations, spec=_specs, edited=_specs)
def test_planning_comes_to_rest(
    seen: Observed, spec: dict[str, Any], edited: dict[str, Any]
) -> None:
    """Also after a change of the spec, whether or not the run is over by then."""
    status: dict[str, Any] = {}
    for generation, wanted in enumerate((spec, edited), start=1):
        for _ in range(ROUNDS):
            made = plan(_read(status, generation, wanted), seen, NOW)
            status = status_json(made.status)
            SiDDistillationStatus.model_validate(status)
            seen = _after(seen, made, wanted)
        rest = plan(_read(status, generation, wanted), seen, NOW)
        assert rest.actions == ()
        assert rest.notices == ()
        assert status_json(rest.status) == status
        assert status["observedGeneration"] == generation


def _read(status: dict[str, Any], generation: int, spec: dict[str, Any]) -> Resource:
    obj = world.raw(status, **spec)
    obj["metadata"]["generation"] = generation
    return world.read(obj)
