"""What planning takes and gives: plain immutable values, no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from sid_operator.api.status import SiDDistillationStatus
from sid_operator.kube.kinds import Kind
from sid_operator.plan.jobs import Cleanup, Job
from sid_operator.plan.nodes import Nodes
from sid_operator.plan.pods import Pod
from sid_operator.resources.metadata import Manifest
from sid_operator.resources.run import Run
from sid_trainer.contract import ProgressReport


@dataclass(frozen=True, kw_only=True, slots=True)
class Resource:
    """A SiDDistillation as the API server holds it.

    Attributes:
        run: What its children are built from; None where the spec cannot be run.
        problem: Why the spec cannot be run, or "".
        status: What was written last.
    """

    namespace: str
    name: str
    uid: str
    generation: int
    run: Run | None
    problem: str
    status: SiDDistillationStatus


@dataclass(frozen=True, slots=True)
class Child:
    """A ConfigMap or Service as the API server holds it."""

    hash: str
    ours: bool
    """Whether the resource owns it."""
    deleting: bool = False
    """Being deleted, or about to be, as its owner is gone."""
    content: str = ""
    """Hash of what a ConfigMap holds."""


@dataclass(frozen=True, slots=True)
class Stray:
    """A pod of an earlier Job of the name."""

    name: str
    node: str = ""
    """The node that it is bound to."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The API server would not take a child."""

    kind: str
    name: str
    details: str
    unanswered: bool = False
    """An admission webhook was to be asked and did not answer."""
    only_tried: bool = False
    """It was asked for beforehand: what it was to replace is there as before."""


@dataclass(frozen=True, slots=True)
class CreationFailure:
    """A pod that the Job controller could not create, as an event tells."""

    time: datetime
    message: str


@dataclass(frozen=True, slots=True)
class PodQuestion:
    """What is asked of a pod that does not start: whether there are Events of this reason."""

    pod_uid: str
    reason: str


@dataclass(frozen=True, slots=True)
class PodEvent:
    """What an Event tells of a pod that does not start."""

    time: datetime
    message: str
    pod_uid: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Observed:
    """What is seen of a resource's children.

    Attributes:
        pods: Pods of the Job that exist, and those deleted since the last pass as they were last
            seen.
        strays: Pods of an earlier Job of this name that have not ended.
        report: What rank 0 told of late.
        refusal: The API server's answer to this pass's attempt.
        creation_failures: Asked for when :attr:`Plan.wants_creation_failures`; else empty.
        pod_events: Answers to :attr:`Plan.wants_pod_events`.
        cleanups: Clean-up Jobs under this name, those of earlier resources included.
        nodes: The cluster's nodes with GPUs.
    """

    config_map: Child | None = None
    service: Child | None = None
    job: Job | None = None
    pods: tuple[Pod, ...] = ()
    strays: tuple[Stray, ...] = ()
    report: ProgressReport | None = None
    refusal: Refusal | None = None
    creation_failures: tuple[CreationFailure, ...] = ()
    pod_events: tuple[PodEvent, ...] = ()
    cleanups: tuple[Cleanup, ...] = ()
    nodes: Nodes = field(default_factory=Nodes)

    @property
    def leftovers(self) -> bool:
        """Whether what the pods read is that of an earlier resource, and is being removed."""
        held = (self.config_map, self.service)
        return any(child is not None and child.deleting for child in held)


@dataclass(frozen=True, slots=True)
class Notice:
    """An Event to post on the resource.

    Attributes:
        known_by: What tells it from others of its reason; "" for the message. A message with a
            number that goes on counting needs it, lest a repeated pass post it anew.
    """

    type: Literal["Normal", "Warning"]
    reason: str
    message: str
    known_by: str = ""


@dataclass(frozen=True, slots=True)
class Apply:
    """Apply a child server-side; ``creates`` where none was seen."""

    kind: Kind
    manifest: Manifest
    creates: bool
    notice: Notice | None = None
    marked: bool = False
    """It is a clean-up Job, and gets its own uid written into it at once."""
    dependent: bool = False
    """Left where anything before it in the plan was refused."""


@dataclass(frozen=True, slots=True)
class Try:
    """Ask whether a child would be taken, of whose name there is one that it is to replace."""

    kind: Kind
    manifest: Manifest
    notice: Notice | None = None
    dependent: bool = True


@dataclass(frozen=True, slots=True)
class Merge:
    """Change an existing child by a merge patch."""

    kind: Kind
    name: str
    patch: Manifest
    notice: Notice | None = None
    dependent: bool = False


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a child, or the resource itself, dependents first."""

    kind: Kind
    name: str
    uid: str
    notice: Notice | None = None
    dependent: bool = False
    """Left where anything before it in the plan was refused."""


Action = Apply | Try | Merge | Delete


@dataclass(frozen=True, slots=True)
class ScrapeTarget:
    """The pod to ask for progress."""

    pod_uid: str
    address: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What is to be done about a resource.

    Attributes:
        actions: Changes of children, in this order.
        status: The status as it should be.
        notices: Events about what changed in it.
        scrape: The pod to ask for progress from now on, or None.
        look_again_after: Seconds after which time alone may change the plan, or None.
        wants_creation_failures: Planning again with the Job's FailedCreate events would tell more.
        wants_pod_events: Events of pods that would tell more.
    """

    actions: tuple[Action, ...]
    status: SiDDistillationStatus
    notices: tuple[Notice, ...] = ()
    scrape: ScrapeTarget | None = None
    look_again_after: float | None = None
    wants_creation_failures: bool = False
    wants_pod_events: tuple[PodQuestion, ...] = ()


def status_json(status: SiDDistillationStatus) -> dict[str, Any]:
    """The status as it is written: without what is not known yet."""
    content = status.model_dump(by_alias=True, exclude_none=True, mode="json")
    return {key: value for key, value in content.items() if value != {}}
