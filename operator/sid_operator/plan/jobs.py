"""Jobs as planning sees them, that of a run and those that clean up: the few facts it needs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sid_operator.api.names import (
    ANNOTATION_HASH,
    ANNOTATION_POD_LIMIT,
    ANNOTATION_POLICY_HASH,
    ANNOTATION_QUEUE,
    ANNOTATION_RELEASED,
    ANNOTATION_SELF,
    ANNOTATION_UID,
    COMPONENT_CLEANUP,
    LABEL_COMPONENT,
    LABEL_QUEUE,
)
from sid_operator.kube.kinds import Object
from sid_operator.plan.objects import (
    is_leaving,
    maybe_time,
    noted_time,
    owned_by,
    printable,
    since,
    time_of,
)


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
        backoff_limit: How many failures of pods it stands, all pods together.
        pod_limit: How many failures of each pod the run stands, or None where it does not say so.
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
    pod_limit: int | None = None

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
        queue: The queue that it is in, or "".
        noted_queue: The queue of the run, as it bears it, or "".
        suspended: It is held back: before it is let go by the operator, later by a queue.
        finished: No pod of it is left.
        failed: Why it is given up, or "". That is certain before its last pod has ended, as of the
            Job of a run.
    """

    name: str
    uid: str
    of_uid: str
    mark: str = ""
    hash: str = ""
    dormant: bool = True
    released: datetime | None = None
    started: datetime | None = None
    queue: str = ""
    noted_queue: str = ""
    suspended: bool = False
    finished: bool = False
    failed: str = ""
    deleting: bool = False

    @property
    def original(self) -> bool:
        """Whether it is certain that it is no copy of another."""
        return self.mark == self.uid


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
        deleted=maybe_time(metadata.get("deletionTimestamp")),
        queue=(metadata.get("labels") or {}).get(LABEL_QUEUE, ""),
        hash=annotations.get(ANNOTATION_HASH, ""),
        policy_hash=annotations.get(ANNOTATION_POLICY_HASH, ""),
        suspended=bool(spec.get("suspend")),
        started=maybe_time(status.get("startTime")),
        complete=since(conditions.get("Complete")),
        failed=since(failed),
        fail_reason=str((failed or {}).get("reason", "")),
        fail_message=printable(str((failed or {}).get("message", ""))),
        deadline=spec.get("activeDeadlineSeconds"),
        backoff_limit=spec.get("backoffLimit", 0),
        pod_limit=_number(annotations.get(ANNOTATION_POD_LIMIT, "")),
    )


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None


def is_cleanup(obj: Object) -> bool:
    """Whether a Job is a clean-up Job."""
    return (obj["metadata"].get("labels") or {}).get(LABEL_COMPONENT) == COMPONENT_CLEANUP


def cleanup_of(obj: Object) -> Cleanup:
    """Read a clean-up Job."""
    metadata, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    annotations = metadata.get("annotations") or {}
    conditions = {c["type"]: c for c in status.get("conditions") or [] if c["status"] == "True"}
    failed = conditions.get("FailureTarget") or conditions.get("Failed") or {}
    released = noted_time(annotations.get(ANNOTATION_RELEASED))
    return Cleanup(
        name=metadata["name"],
        uid=metadata["uid"],
        of_uid=annotations.get(ANNOTATION_UID, ""),
        mark=annotations.get(ANNOTATION_SELF, ""),
        hash=annotations.get(ANNOTATION_HASH, ""),
        # Those of earlier versions have one lock: they are only suspended.
        dormant=spec.get("parallelism") == 0 or (bool(spec.get("suspend")) and released is None),
        released=released,
        started=maybe_time(status.get("startTime")),
        queue=(metadata.get("labels") or {}).get(LABEL_QUEUE, ""),
        noted_queue=annotations.get(ANNOTATION_QUEUE, ""),
        suspended=bool(spec.get("suspend")),
        finished="Complete" in conditions or "Failed" in conditions,
        failed=printable(str(failed.get("message") or failed.get("reason", ""))),
        deleting="deletionTimestamp" in metadata,
    )
