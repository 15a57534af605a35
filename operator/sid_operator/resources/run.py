"""What the builders need to know of a resource."""

from __future__ import annotations

from dataclasses import dataclass

from sid_operator.api.spec import SiDDistillationSpec


@dataclass(frozen=True, slots=True)
class TrainerImage:
    """The image that the operator was installed with, for resources that name none.

    Attributes:
        reference: The image; "" where every resource must name its own.
        pull_secrets: Pull secrets of resources that name none, in each resource's namespace.
    """

    reference: str = ""
    pull_secrets: tuple[str, ...] = ()


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
    """

    namespace: str
    name: str
    uid: str
    spec: SiDDistillationSpec
    image: str
    pull_secrets: tuple[str, ...] = ()

    @property
    def config_map_name(self) -> str:
        """Name of the ConfigMap."""
        return f"{self.name}-config"
