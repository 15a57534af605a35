"""Pods and Jobs as planning sees them: the few facts that it needs, read from the API's objects.

Rule: what comes out of a pod (its termination message) is not trusted. It is parsed into the
contract's bounded model or taken as text, shortened and rid of control characters.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pydantic

from sid_operator.api.names import (
    ANNOTATION_HASH,
    ANNOTATION_RELEASED,
    ANNOTATION_SELF,
    ANNOTATION_UID,
    COMPONENT_CLEANUP,
    KIND,
    LABEL_COMPONENT,
    LABEL_QUEUE,
    TRAINER_CONTAINER,
)
from sid_operator.resources.metadata import ANNOTATION_POLICY_HASH
from sid_trainer.contract import TerminationRecord

INDEX_LABEL = "batch.kubernetes.io/job-completion-index"
MAX_TEXT = 700
"""Characters of foreign text that go into a message; the Event API takes 1024 in all."""
_OWN_PORT = re.compile(r"\S+:\d+->")

Object = dict[str, Any]


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
        unschedulable: The scheduler's message, or "".
        waiting: Reason and message of a container that does not start, or None.
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
    unschedulable: str = ""
    ready: bool = False
    ready_since: datetime | None = None
    waiting: tuple[str, str] | None = None
    image: str = ""
    terminated: Terminated | None = None
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """The Job of the run.

    Attributes:
        ours: The resource owns it.
        deleting: It is being deleted, or about to be, as its owner is gone.
        deleted: Since when it is being deleted, or None.
        queue: The queue that owns its ``suspend``, or "".
        complete: Since when it is complete, or None.
        failed: Since when it is certain that it fails, or None. The Job controller says so first in
            FailureTarget, and in Failed only once no pod is ending any more: after a grace period,
            or never where a node is lost.
        fail_reason: Reason of that condition.
        deadline: Its activeDeadlineSeconds, or None.
        backoff_limit: How many failures of pods it stands.
    """

    uid: str
    ours: bool
    created: datetime
    deleting: bool = False
    deleted: datetime | None = None
    queue: str = ""
    hash: str = ""
    policy_hash: str = ""
    suspended: bool = False
    started: datetime | None = None
    complete: datetime | None = None
    failed: datetime | None = None
    fail_reason: str = ""
    fail_message: str = ""
    deadline: int | None = None
    backoff_limit: int = 0

    @property
    def finished(self) -> bool:
        """Whether the Job controller will start no more pods."""
        return self.complete is not None or self.failed is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class Cleanup:
    """A clean-up Job under the name of a resource.

    Attributes:
        of_uid: uid of the resource whose objects it removes.
        mark: uid that it says is its own, or "".
        dormant: It makes no pod, whatever a queue does to it.
        released: When it was let go, or None.
        started: Since when its deadline is counted, or None.
        failed: Why it was given up, or "".
    """

    name: str
    uid: str
    of_uid: str
    mark: str = ""
    hash: str = ""
    dormant: bool = True
    released: datetime | None = None
    started: datetime | None = None
    finished: bool = False
    failed: str = ""
    deleting: bool = False

    @property
    def original(self) -> bool:
        """Whether it is certain that it is no copy of another."""
        return self.mark == self.uid


def owned_by(obj: Object, uid: str) -> bool:
    """Whether the object's controlling owner has this uid."""
    owners = obj["metadata"].get("ownerReferences") or []
    return any(owner.get("uid") == uid and owner.get("controller") for owner in owners)


def is_leaving(obj: Object, owner: str, owner_uid: str) -> bool:
    """Whether a child is being deleted, or about to be as its owner is gone.

    Args:
        obj: The child.
        owner: Name of the resource that lives.
        owner_uid: Its uid; an owner of that name and another uid is an earlier one.
    """
    owners = obj["metadata"].get("ownerReferences") or []
    left = any(
        one.get("kind") == KIND and one.get("name") == owner and one.get("uid") != owner_uid
        for one in owners
    )
    return left or "deletionTimestamp" in obj["metadata"]


def owner_of(obj: Object) -> str:
    """Uid of the object's controlling owner, or ""."""
    owners = obj["metadata"].get("ownerReferences") or []
    return next((str(one.get("uid")) for one in owners if one.get("controller")), "")


def job_of(obj: Object, owner: str, owner_uid: str) -> Job:
    """Read a Job of the resource with this name and uid."""
    metadata, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    annotations = metadata.get("annotations") or {}
    conditions = {c["type"]: c for c in status.get("conditions") or [] if c["status"] == "True"}
    failed = conditions.get("FailureTarget") or conditions.get("Failed")
    return Job(
        uid=metadata["uid"],
        ours=owned_by(obj, owner_uid),
        created=time_of(metadata["creationTimestamp"]),
        deleting=is_leaving(obj, owner, owner_uid),
        deleted=_maybe_time(metadata.get("deletionTimestamp")),
        queue=(metadata.get("labels") or {}).get(LABEL_QUEUE, ""),
        hash=annotations.get(ANNOTATION_HASH, ""),
        policy_hash=annotations.get(ANNOTATION_POLICY_HASH, ""),
        suspended=bool(spec.get("suspend")),
        started=_maybe_time(status.get("startTime")),
        complete=_since(conditions.get("Complete")),
        failed=_since(failed),
        fail_reason=str((failed or {}).get("reason", "")),
        fail_message=printable(str((failed or {}).get("message", ""))),
        deadline=spec.get("activeDeadlineSeconds"),
        backoff_limit=spec.get("backoffLimit", 0),
    )


def is_cleanup(obj: Object) -> bool:
    """Whether a Job is a clean-up Job."""
    return (obj["metadata"].get("labels") or {}).get(LABEL_COMPONENT) == COMPONENT_CLEANUP


def cleanup_of(obj: Object) -> Cleanup:
    """Read a clean-up Job."""
    metadata, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    annotations = metadata.get("annotations") or {}
    conditions = {c["type"]: c for c in status.get("conditions") or [] if c["status"] == "True"}
    failed = conditions.get("Failed") or {}
    released = _noted_time(annotations.get(ANNOTATION_RELEASED))
    return Cleanup(
        name=metadata["name"],
        uid=metadata["uid"],
        of_uid=annotations.get(ANNOTATION_UID, ""),
        mark=annotations.get(ANNOTATION_SELF, ""),
        hash=annotations.get(ANNOTATION_HASH, ""),
        # Those of earlier versions have one lock: they are only suspended.
        dormant=spec.get("parallelism") == 0 or (bool(spec.get("suspend")) and released is None),
        released=released,
        started=_maybe_time(status.get("startTime")),
        finished="Complete" in conditions or "Failed" in conditions,
        failed=printable(str(failed.get("message") or failed.get("reason", ""))),
        deleting="deletionTimestamp" in metadata,
    )


def pod_of(obj: Object, *, gone: bool = False) -> Pod:
    """Read a pod."""
    metadata, status = obj["metadata"], obj.get("status") or {}
    conditions = {c["type"]: c for c in status.get("conditions") or []}
    scheduled, ready = conditions.get("PodScheduled") or {}, conditions.get("Ready") or {}
    container = _trainer(status)
    state = container.get("state") or {}
    is_ready = ready.get("status") == "True"
    node = str((obj.get("spec") or {}).get("nodeName", ""))
    return Pod(
        name=metadata["name"],
        uid=metadata["uid"],
        index=int((metadata.get("labels") or {}).get(INDEX_LABEL, "0")),
        created=time_of(metadata["creationTimestamp"]),
        phase=str(status.get("phase", "Pending")),
        reason=str(status.get("reason", "")),
        message=printable(str(status.get("message", ""))),
        ip=str(status.get("podIP", "")),
        scheduled=scheduled.get("status") == "True" or bool(node),
        unschedulable=_unschedulable(scheduled),
        ready=is_ready,
        ready_since=_since(ready) if is_ready else None,
        waiting=_waiting(state.get("waiting")),
        image=str(container.get("image", "")),
        terminated=_terminated(state.get("terminated")),
        leaving=gone or "deletionTimestamp" in metadata,
        gone_by=None if gone else _maybe_time(metadata.get("deletionTimestamp")),
        node=node,
        node_silent=not gone and "running" in state and _doubted(container, ready),
        disruption=_disruption(conditions.get("DisruptionTarget")),
    )


def has_ended(obj: Object) -> bool:
    """Whether nothing of a pod runs any more, though it may stay for its logs."""
    return (obj.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def printable(text: str, limit: int = MAX_TEXT) -> str:
    """The end of a text that fits into a message, without control characters."""
    clean = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return clean if len(clean) <= limit else "…" + clean[1 - limit :]


def without_own_port(text: str) -> str:
    """A text without the ports that connections came from: another at each try, it seems news."""
    return _OWN_PORT.sub("", text)


def time_of(text: str) -> datetime:
    """A metav1.Time."""
    return datetime.fromisoformat(text).astimezone(UTC)


def _maybe_time(text: str | None) -> datetime | None:
    return time_of(text) if text else None


def _noted_time(text: str | None) -> datetime | None:
    """A time from an annotation, which anybody may have written."""
    try:
        return _maybe_time(text)
    except (ValueError, OverflowError):
        return None


def _since(condition: Object | None) -> datetime | None:
    return _maybe_time((condition or {}).get("lastTransitionTime"))


def _trainer(status: Object) -> Object:
    containers: list[Object] = status.get("containerStatuses") or []
    return next((c for c in containers if c["name"] == TRAINER_CONTAINER), {})


def _unschedulable(condition: Object) -> str:
    if condition.get("status") != "False":
        return ""
    return printable(str(condition.get("message") or condition.get("reason") or "no node fits"))


def _waiting(state: Object | None) -> tuple[str, str] | None:
    if state is None:
        return None
    return str(state.get("reason", "")), printable(str(state.get("message", "")))


def _doubted(container: Object, ready: Object) -> bool:
    """Whether the pod was made unready over the kubelet's head, as it is when its node is silent.

    The kubelet writes both at once, and our pods have nothing else that makes them ready.
    """
    return bool(container.get("ready")) and ready.get("status") == "False"


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
        finished_at=_maybe_time(state.get("finishedAt")) or datetime.fromtimestamp(0, UTC),
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
