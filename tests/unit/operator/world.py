"""Resources, Jobs and pods as the API server would show them, for tests of planning."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sid_operator.api.names import (
    ANNOTATION_CONTENT,
    ANNOTATION_HASH,
    LABEL_DISTILLATION,
)
from sid_operator.plan.decide import plan
from sid_operator.plan.jobs import Job, job_of
from sid_operator.plan.model import Child, Observed, Plan, Resource, status_json
from sid_operator.plan.pods import Pod, pod_of
from sid_operator.plan.resource import resource_of
from sid_operator.resources.config_map import config_map
from sid_operator.resources.job import job as built_job
from sid_operator.resources.run import Installed, Run
from sid_operator.resources.service import service
from sid_trainer.contract import ProgressReport

NAMESPACE, NAME, UID = "team", "digits", "uid-of-digits"
IMAGE = "registry.example.org/sid-trainer:1.0"
NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)

Object = dict[str, Any]


def at(seconds: float) -> str:
    """A time so many seconds before now."""
    return (NOW - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def raw(status: Object | None = None, **spec: Any) -> Object:
    """A SiDDistillation of two CPU pods; keyword arguments replace sections of the spec."""
    sections: Object = {
        "teacher": {"model": "s3://sid/teachers/digits"},
        "data": {"prompts": {"uri": "s3://sid/prompts/digits.txt"}},
        "training": {"iterations": 500, "batchSize": 64},
        "checkpoint": {"bucket": "sid", "prefix": "runs", "secretRef": {"name": "credentials"}},
        "workers": {"nodes": 2, "gpusPerNode": 0, "image": IMAGE},
    }
    return {
        "apiVersion": "sid-dit.dev/v1alpha1",
        "kind": "SiDDistillation",
        "metadata": {
            "namespace": NAMESPACE,
            "name": NAME,
            "uid": UID,
            "generation": 1,
            "resourceVersion": "100",
        },
        "spec": sections | spec,
        "status": status or {},
    }


def resource(status: Object | None = None, **spec: Any) -> Resource:
    """The same, read."""
    return read(raw(status, **spec))


def read(obj: Object) -> Resource:
    """A SiDDistillation, read."""
    return resource_of(obj, default=Installed())


def run(**spec: Any) -> Run:
    """What its children are built from."""
    found = resource(**spec).run
    assert found is not None
    return found


def job(
    of: Run | None = None,
    *,
    conditions: tuple[Object, ...] = (),
    deleted: float | None = None,
    **spec: Any,
) -> Job:
    """Its Job, a minute old; keyword arguments stand in the Job's spec.

    ``deleted`` is how many seconds ago its deletion began.
    """
    of = of or run()
    deletion = {} if deleted is None else {"deletionTimestamp": at(deleted)}
    manifest = built_job(of)
    return job_of(
        {
            "metadata": {
                **deletion,
                "labels": manifest["metadata"]["labels"],
                "namespace": NAMESPACE,
                "name": NAME,
                "uid": "uid-of-job",
                "creationTimestamp": at(60),
                "annotations": manifest["metadata"]["annotations"],
                "ownerReferences": [{"uid": UID, "controller": True}],
            },
            "spec": manifest["spec"] | spec,
            "status": {"startTime": at(60), "conditions": list(conditions)},
        },
        NAME,
        UID,
    )


def condition(kind: str, reason: str = "", message: str = "", status: str = "True") -> Object:
    """A condition of a Job or pod, of now."""
    told = {"type": kind, "status": status, "lastTransitionTime": at(0)}
    return told | {"reason": reason, "message": message}


def raw_pod(index: int, *, age: float = 50, suffix: str = "a", **status: Any) -> Object:
    """A pod of the Job; keyword arguments stand in its status."""
    return {
        "metadata": {
            "namespace": NAMESPACE,
            "name": f"{NAME}-{index}-{suffix}",
            "uid": f"uid-{index}-{suffix}",
            "creationTimestamp": at(age),
            "labels": {
                LABEL_DISTILLATION: NAME,
                "batch.kubernetes.io/job-completion-index": str(index),
            },
            "ownerReferences": [{"kind": "Job", "name": NAME, "controller": True}],
        },
        "spec": {"nodeName": "node-1"},
        "status": {"phase": "Pending"} | status,
    }


def ready(index: int, *, since: float = 30, suffix: str = "a", age: float = 50) -> Pod:
    """A pod that is ready."""
    return pod_of(
        raw_pod(
            index,
            age=age,
            suffix=suffix,
            phase="Running",
            podIP=f"10.0.0.{index + 1}",
            conditions=[
                {"type": "PodScheduled", "status": "True"},
                {"type": "Ready", "status": "True", "lastTransitionTime": at(since)},
            ],
            containerStatuses=[{"name": "trainer", "state": {"running": {}}}],
        )
    )


READY_PODS = (ready(0), ready(1))
"""All pods of the Job, ready."""


def waiting(index: int, reason: str, message: str = "", image: str = IMAGE) -> Pod:
    """A pod whose container does not start."""
    state = {"waiting": {"reason": reason, "message": message}}
    status = {"name": "trainer", "image": image, "state": state}
    return pod_of(raw_pod(index, containerStatuses=[status]))


def unplaced(index: int, *, age: float = 50, held: Object | None = None, **spec: Any) -> Pod:
    """A pod without a node; ``held`` is what PodScheduled says."""
    obj = raw_pod(index, age=age, conditions=[held] if held else [])
    return pod_of(obj | {"spec": spec})


def ended(
    index: int,
    code: int,
    message: str = "",
    *,
    reason: str = "Error",
    ago: float = 5,
    gone: bool = False,
    sidecar: str = "",
    **status: Any,
) -> Pod:
    """A pod whose container ended; where there is a sidecar, it goes on."""
    state = {"exitCode": code, "reason": reason, "message": message, "finishedAt": at(ago)}
    phase = "Succeeded" if code == 0 else "Failed"
    containers: list[Object] = [{"name": "trainer", "state": {"terminated": state}}]
    if sidecar:
        phase = "Running"
        containers.append({"name": sidecar, "state": {"running": {}}, "ready": True})
    obj = raw_pod(index, phase=phase, containerStatuses=containers, **status)
    return pod_of(obj, gone=gone)


def report(**fields: Any) -> ProgressReport:
    """What rank 0 tells in the middle of the run."""
    base = {
        "attempt": 1,
        "stage": "training",
        "iteration": 250,
        "iterations": 500,
        "images": 16_000,
        "images_per_second": 12.5,
        "eta_seconds": 100,
        "time": NOW - timedelta(seconds=2),
        "metrics": {"generatorLoss": 0.5},
    }
    return ProgressReport.model_validate(base | fields)


def child(manifest: Object) -> Child:
    """A ConfigMap or Service as it was applied."""
    annotations = manifest["metadata"]["annotations"]
    content = annotations.get(ANNOTATION_CONTENT, "")
    return Child(annotations[ANNOTATION_HASH], ours=True, content=content)


def observed(of: Run | None = None, **parts: Any) -> Observed:
    """Children as they should be, with what is given in their place."""
    of = of or run()
    base: Object = {"config_map": child(config_map(of)), "service": child(service(of))}
    return Observed(**(base | {"job": job(of)} | parts))


def first(seen: Observed, **spec: Any) -> Plan:
    """The plan of a resource that was never looked at before."""
    return plan(resource(**spec), seen, NOW)


def followed(before: Plan, *observations: Observed, **spec: Any) -> Plan:
    """The plan after a plan's status was written and the world went on, once or more."""
    for seen in observations:
        before = plan(resource(status_json(before.status), **spec), seen, NOW)
    return before


def told(of: Plan) -> dict[str, tuple[str, str]]:
    """The conditions of a plan, as type: (status, reason)."""
    return {c.type: (c.status, c.reason) for c in of.status.conditions}
