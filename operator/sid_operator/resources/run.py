"""What the builders need to know of a resource."""

from __future__ import annotations

from dataclasses import dataclass

from sid_operator.api.spec import SiDDistillationSpec
from sid_operator.api.workers import RoomCheck


@dataclass(frozen=True, slots=True)
class Installed:
    """What the operator was installed with, for resources that say nothing of it.

    Attributes:
        image: Of the trainer; "" where every resource must name its own.
        pull_secrets: Pull secrets of resources that name none, in each resource's namespace.
        room_check: What becomes of a run that is too large for its GPUs.
    """

    image: str = ""
    pull_secrets: tuple[str, ...] = ()
    room_check: RoomCheck = "Hold"


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A valid resource, and the image that its pods get.

    Attributes:
        namespace: Where the resource and all its children are.
        name: Of the resource; the Job and the Service have the same.
        uid: Of the resource, for owner references.
        spec: What the user wants.
        image: workers.image, or the operator's default.
        pull_secrets: workers.imagePullSecrets, or the operator's default.
        room_check: The operator's default of runPolicy.roomCheck.
    """

    namespace: str
    name: str
    uid: str
    spec: SiDDistillationSpec
    image: str
    pull_secrets: tuple[str, ...] = ()
    room_check: RoomCheck = "Hold"

    @property
    def config_map_name(self) -> str:
        """Name of the ConfigMap."""
        return f"{self.name}-config"
