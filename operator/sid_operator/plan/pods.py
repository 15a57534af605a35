"""Pods as planning sees them: the few facts that it needs, read from the API's objects.

Rule: what comes out of a pod (its termination message) is not trusted. It is parsed into the
contract's bounded model or taken as text (:func:`sid_operator.plan.objects.printable`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime

import pydantic

from sid_operator.api.names import LABEL_INDEX, TRAINER_CONTAINER
from sid_operator.kube.kinds import Object
from sid_operator.plan.objects import maybe_time, printable, since, time_of
from sid_trainer.contract import TerminationRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class Terminated:
    """How a container ended.

    Attributes:
        text: The termination message where it is no record: the end of the log.
    """

    exit_code: int
    reason: str
    finished_at: datetime
    record: TerminationRecord | None
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Pod:
    """A pod of the run.

    Attributes:
        index: Its place in the Indexed Job, the node's rank.
        phase: Pending, Running, Succeeded, Failed or Unknown.
        reason: Why the pod as a whole failed (``Evicted``), or "".
        placed: When it was given its node, as far as that is told.
        unschedulable: The scheduler's message, or "".
        scheduler: Name of the one that is to find it a node.
        looked_at: A scheduler has told of it, or it has its node.
        gates: Scheduling gates that it still has; no scheduler looks at it before.
        waiting: Reason and message of a container that does not start, or None.
        companions: Other containers that run in it.
        leaving: Being deleted, or deleted.
        gone_by: When its grace period is over, where it is being deleted and still there.
        node: The node that it is bound to, or "".
        node_silent: The control plane doubts what the kubelet said last: the node does not answer.
        disruption: Reason and message, where Kubernetes itself takes the pod away (an eviction, a
            preemption), or None.
    """

    name: str
    uid: str
    index: int
    created: datetime
    phase: str
    reason: str = ""
    message: str = ""
    ip: str = ""
    scheduled: bool = False
    placed: datetime | None = None
    unschedulable: str = ""
    scheduler: str = ""
    looked_at: bool = True
    gates: tuple[str, ...] = ()
    ready: bool = False
    ready_since: datetime | None = None
    waiting: tuple[str, str] | None = None
    image: str = ""
    terminated: Terminated | None = None
    companions: tuple[str, ...] = ()
    leaving: bool = False
    gone_by: datetime | None = None
    node: str = ""
    node_silent: bool = False
    disruption: tuple[str, str] | None = None

    @property
    def succeeded(self) -> bool:
        """Whether it ended well."""
        if self.terminated is not None:
            return self.terminated.exit_code == 0
        return self.phase == "Succeeded"

    @property
    def failed(self) -> bool:
        """Whether it ended otherwise than well."""
        if self.terminated is not None:
            return self.terminated.exit_code != 0
        return self.phase == "Failed"


def pod_of(obj: Object, *, gone: bool = False) -> Pod:
    """Read a pod."""
    metadata, status = obj["metadata"], obj.get("status") or {}
    conditions = {c["type"]: c for c in status.get("conditions") or []}
    scheduled, ready = conditions.get("PodScheduled") or {}, conditions.get("Ready") or {}
    container = _trainer(status)
    state = container.get("state") or {}
    is_ready = ready.get("status") == "True"
    spec: Object = obj.get("spec") or {}
    node = str(spec.get("nodeName", ""))
    return Pod(
        name=metadata["name"],
        uid=metadata["uid"],
        index=int((metadata.get("labels") or {}).get(LABEL_INDEX, "0")),
        created=time_of(metadata["creationTimestamp"]),
        phase=str(status.get("phase", "Pending")),
        reason=str(status.get("reason", "")),
        message=printable(str(status.get("message", ""))),
        ip=str(status.get("podIP", "")),
        scheduled=scheduled.get("status") == "True" or bool(node),
        placed=since(scheduled) if scheduled.get("status") == "True" else None,
        unschedulable=_unschedulable(scheduled),
        scheduler=str(spec.get("schedulerName", "")),
        looked_at=bool(scheduled or node),
        gates=tuple(str(gate["name"]) for gate in spec.get("schedulingGates") or []),
        ready=is_ready,
        ready_since=since(ready) if is_ready else None,
        waiting=_waiting(state.get("waiting")),
        image=str(container.get("image", "")),
        terminated=_terminated(state.get("terminated")),
        companions=_companions(status),
        leaving=gone or "deletionTimestamp" in metadata,
        gone_by=None if gone else maybe_time(metadata.get("deletionTimestamp")),
        node=node,
        node_silent=not gone and "running" in state and _doubted(status, ready),
        disruption=_disruption(conditions.get("DisruptionTarget")),
    )


def has_ended(obj: Object) -> bool:
    """Whether nothing of a pod runs any more, though it may stay for its logs."""
    return (obj.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _trainer(status: Object) -> Object:
    containers: list[Object] = status.get("containerStatuses") or []
    return next((c for c in containers if c["name"] == TRAINER_CONTAINER), {})


def _companions(status: Object) -> tuple[str, ...]:
    """Containers beside the trainer that run; native sidecars are none, and hold nothing up."""
    containers: list[Object] = status.get("containerStatuses") or []
    others = (c for c in containers if c["name"] != TRAINER_CONTAINER)
    return tuple(str(c["name"]) for c in others if "running" in (c.get("state") or {}))


def _unschedulable(condition: Object) -> str:
    if condition.get("status") != "False" or condition.get("reason") == "SchedulingGated":
        return ""
    return printable(str(condition.get("message") or condition.get("reason") or "no node fits"))


def _waiting(state: Object | None) -> tuple[str, str] | None:
    if state is None:
        return None
    return str(state.get("reason", "")), printable(str(state.get("message", "")))


def _doubted(status: Object, ready: Object) -> bool:
    """Whether the pod was made unready over the kubelet's head, as it is when its node is silent.

    The kubelet writes both at once, and a pod is ready when all its containers are: also those that
    a webhook put beside the trainer.
    """
    containers: list[Object] = status.get("containerStatuses") or []
    return ready.get("status") == "False" and all(c.get("ready") for c in containers)


def _disruption(condition: Object | None) -> tuple[str, str] | None:
    if condition is None or condition.get("status") != "True":
        return None
    return str(condition.get("reason", "")), printable(str(condition.get("message", "")))


def _terminated(state: Object | None) -> Terminated | None:
    if state is None:
        return None
    message = str(state.get("message", ""))
    record = _record(message)
    return Terminated(
        exit_code=int(state.get("exitCode", 0)),
        reason=str(state.get("reason", "")),
        finished_at=maybe_time(state.get("finishedAt")) or datetime.fromtimestamp(0, UTC),
        record=record,
        text="" if record is not None else printable(message),
    )


def _record(message: str) -> TerminationRecord | None:
    if not message.lstrip().startswith("{"):
        return None
    try:
        return TerminationRecord.model_validate(json.loads(message))
    except (json.JSONDecodeError, RecursionError, pydantic.ValidationError):
        return None
