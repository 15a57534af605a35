"""What pods are told in lists and maps: Secrets, resources, nodes, volumes, devices, variables.

Rules this module keeps:

* Volumes and devices are claims of the namespace; environment variables are plain text, and none of
  those that the operator or the launcher sets.
* What Kubernetes has a name for keeps that name.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from sid_operator.api.fields import (
    DnsLabel,
    MountPath,
    ObjectName,
    QualifiedName,
    SelectorValue,
    VariableName,
)
from sid_operator.api.quantities import Quantity
from sid_trainer.config import Section


class SecretRef(Section):
    """A Secret in the namespace of the resource."""

    name: ObjectName = Field(description="Name of the Secret, in the namespace of the resource.")


class ResourceRequirements(Section):
    """What a pod asks of its node, and at most gets. GPUs are asked for by gpusPerNode."""

    requests: Annotated[dict[QualifiedName, Quantity], Field(max_length=16)] = Field(
        default_factory=dict,
        description="What the scheduler sets aside for each pod, for instance {cpu: 16, memory: "
        "256Gi}. Default: the limits. Fractions are written as text ('500m').",
    )
    limits: Annotated[dict[QualifiedName, Quantity], Field(max_length=16)] = Field(
        default_factory=dict,
        description="What each pod may use at most, extended resources such as rdma/hca included.",
    )


class Toleration(Section):
    """A taint of nodes that the pods tolerate, as in a pod's spec."""

    key: QualifiedName | None = Field(
        default=None,
        description="Key of the taint. Every taint is tolerated when it is not given and operator "
        "is Exists.",
    )
    operator: Literal["Equal", "Exists"] = Field(
        default="Equal", description="Equal compares key and value, Exists the key alone."
    )
    value: SelectorValue | None = Field(
        default=None, description="Value of the taint. Not allowed with Exists."
    )
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="Effect of the taint. Default: all of them."
    )
    toleration_seconds: int | None = Field(
        default=None,
        ge=0,
        le=2**31 - 1,
        description="Seconds that a pod stays after a NoExecute taint appeared. Default: forever.",
    )


class NodeRequirement(Section):
    """What a label of a node must satisfy, as in a node selector's matchExpressions."""

    key: QualifiedName = Field(description="Key of the label.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"] = Field(
        default="In",
        description="How the label is compared: In and NotIn with values, Gt and Lt with the one "
        "whole number in values, Exists and DoesNotExist with none.",
    )
    values: Annotated[list[SelectorValue], Field(max_length=64)] = Field(
        default_factory=list, description="What the label is compared with."
    )


class ClaimVolume(Section):
    """A PersistentVolumeClaim mounted in every pod, for models and prompts given as paths."""

    name: DnsLabel = Field(description="Name of the volume, unique within the resource.")
    claim_name: ObjectName = Field(
        description="PersistentVolumeClaim in the namespace of the resource. With more than one "
        "node it needs the access mode ReadOnlyMany or ReadWriteMany."
    )
    mount_path: MountPath = Field(
        description="Absolute path at which the pods see it, below /mnt, /data or /models."
    )
    read_only: bool = Field(
        default=True, description="Mount it read-only; a run writes to its bucket only."
    )


class DeviceClaim(Section):
    """Devices that every pod gets by dynamic resource allocation, from one of two sources."""

    name: DnsLabel = Field(description="Name of the claim, unique within the resource.")
    resource_claim_template_name: ObjectName | None = Field(
        default=None,
        description="ResourceClaimTemplate in the namespace of the resource, by which each pod "
        "gets a claim of its own: what GPUs need.",
    )
    resource_claim_name: ObjectName | None = Field(
        default=None,
        description="ResourceClaim in the namespace of the resource, whose devices all pods share.",
    )
    request: DnsLabel | None = Field(
        default=None,
        description="The one request of the claim whose devices the container sees. Default: all.",
    )


class EnvironmentVariable(Section):
    """An environment variable of the training processes, such as NCCL_SOCKET_IFNAME."""

    name: VariableName = Field(
        description="Name of the variable: none that the operator or the launcher sets."
    )
    value: Annotated[str, Field(max_length=4096)] = Field(
        description="Its value, taken literally. Anyone who may read the resource can read it: no "
        "credentials."
    )
