"""The part of the spec that is Kubernetes': pods, scheduling, run policy.

Rules this module keeps:

* A user gets nothing through it that they could not create themselves: no host access, no
  security context, no service account.
* What Kubernetes has a name for keeps that name (``tolerations``, ``imagePullSecrets``).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from sid_operator.api.fields import (
    ExtendedResource,
    ImageName,
    LabelValue,
    MetadataKey,
    ObjectName,
    QualifiedName,
    SelectorValue,
)
from sid_operator.api.names import GPU_RESOURCE
from sid_operator.api.pods import (
    ClaimVolume,
    DeviceClaim,
    EnvironmentVariable,
    NodeRequirement,
    ResourceRequirements,
    SecretRef,
    Toleration,
)
from sid_operator.api.quantities import Quantity
from sid_trainer.config import Section

ImagePullPolicy = Literal["Always", "IfNotPresent", "Never"]
RoomCheck = Literal["Hold", "Warn"]


class WorkersSpec(Section):
    """The pods that train: one a node, one process a GPU."""

    nodes: int = Field(
        default=1,
        ge=1,
        le=1024,
        description="Number of pods, one a node. When it or gpusPerNode is changed, training goes "
        "on from the last checkpoint, which is laid out anew.",
    )
    gpus_per_node: int = Field(
        default=8, ge=0, le=64, description="GPUs of each pod. 0 trains on CPU, one process a pod."
    )
    gpu_resource: ExtendedResource = Field(
        default=GPU_RESOURCE,
        description="Resource by which the nodes offer their GPUs, as kubectl describe node shows "
        "it: nvidia.com/gpu.shared, nvidia.com/mig-3g.40gb (with gpusPerNode 1: a process sees one "
        "slice), amd.com/gpu (with an image for ROCm), or another that a device plugin was given. "
        "Empty where the GPUs come by resourceClaims.",
    )
    image: ImageName | None = Field(
        default=None,
        description="Image of the trainer. Default: the one that the operator was installed with.",
    )
    image_pull_policy: ImagePullPolicy | None = Field(
        default=None,
        description="When the image is pulled. Default: Kubernetes' own (Always for the tag "
        "latest, else IfNotPresent).",
    )
    image_pull_secrets: Annotated[list[SecretRef], Field(max_length=8)] = Field(
        default_factory=list,
        description="Secrets that the image is pulled with. Default: those of the names that the "
        "operator was installed with, if any.",
    )
    resources: ResourceRequirements = Field(
        default_factory=ResourceRequirements,
        description="CPU, memory and other resources of each pod. GPUs are asked for by "
        "gpusPerNode.",
    )
    node_selector: Annotated[dict[QualifiedName, SelectorValue], Field(max_length=32)] = Field(
        default_factory=dict,
        description="Labels of the nodes that the pods may run on, for instance "
        "{nvidia.com/gpu.product: NVIDIA-H100-80GB-HBM3}.",
    )
    node_affinity: Annotated[list[NodeRequirement], Field(max_length=16)] = Field(
        default_factory=list,
        description="What the labels of the nodes must satisfy, all of it, beyond nodeSelector: "
        "for instance {key: nvidia.com/gpu.memory, operator: Gt, values: ['79000']}.",
    )
    runtime_class_name: ObjectName | None = Field(
        default=None,
        description="RuntimeClass of the pods, where GPUs are reached by one that is not the "
        "nodes' default (nvidia on k3s, for instance).",
    )
    fs_group: int | None = Field(
        default=None,
        ge=1,
        le=2**31 - 1,
        description="Group that mounted volumes are made to belong to, so that the pods, which run "
        "as user 65532, may write to them. Default: volumes stay as they are.",
    )
    pod_labels: Annotated[dict[MetadataKey, SelectorValue], Field(max_length=32)] = Field(
        default_factory=dict,
        description="Further labels of the pods, beside those that spec.labels puts on every "
        "object, such as a gang scheduler's pod group.",
    )
    pod_annotations: Annotated[
        dict[MetadataKey, Annotated[str, Field(max_length=4096)]], Field(max_length=32)
    ] = Field(
        default_factory=dict,
        description="Further annotations of the pods, for instance {sidecar.istio.io/inject: "
        "'false'} or those of a secondary network.",
    )
    tolerations: Annotated[list[Toleration], Field(max_length=32)] = Field(
        default_factory=list, description="Taints of nodes that the pods tolerate."
    )
    volumes: Annotated[list[ClaimVolume], Field(max_length=16)] = Field(
        default_factory=list,
        description="PersistentVolumeClaims mounted in every pod, for models and prompts given as "
        "paths.",
    )
    resource_claims: Annotated[list[DeviceClaim], Field(max_length=16)] = Field(
        default_factory=list,
        description="Devices of every pod by dynamic resource allocation (Kubernetes 1.34 or "
        "newer): GPUs, with gpuResource empty and gpusPerNode as many as a pod's claim has, or "
        "network devices.",
    )
    env: Annotated[list[EnvironmentVariable], Field(max_length=64)] = Field(
        default_factory=list,
        description="Environment variables of every pod, for what the cluster's network needs: "
        "NCCL_SOCKET_IFNAME, NCCL_IB_GID_INDEX, HF_ENDPOINT, HTTPS_PROXY (of the Hub; the bucket "
        "is asked directly), or SID_CACHE: a folder of a volume for "
        "downloads and for the student until it is uploaded.",
    )
    shared_memory: Quantity = Field(
        default="8Gi",
        description="Limit of /dev/shm, which NCCL uses between the GPUs of a node. What is used "
        "counts as memory of the pod.",
    )

    termination_grace_period_seconds: int = Field(
        default=120,
        ge=1,
        le=86_400,
        description="Seconds between a pod's SIGTERM (suspension, eviction, drain of the node) and "
        "its SIGKILL. A last checkpoint is stored in that time, less 10 s; one that takes longer "
        "is lost, and training goes on from the one before it.",
    )

    @property
    def processes_per_node(self) -> int:
        """Training processes of a pod."""
        return max(self.gpus_per_node, 1)


class SchedulingSpec(Section):
    """Who decides when and where the pods run."""

    queue_name: LabelValue | None = Field(
        default=None,
        description="Kueue LocalQueue that admits the run: put as label "
        "kueue.x-k8s.io/queue-name on the Job.",
    )
    workload_priority_class: LabelValue | None = Field(
        default=None,
        description="Kueue WorkloadPriorityClass of the run: its place in the queue, and what "
        "preempts it there, apart from the priority of its pods. Put as label "
        "kueue.x-k8s.io/priority-class on the Job; another one is given to a Job that is there.",
    )
    scheduler_name: ObjectName | None = Field(
        default=None, description="Scheduler of the pods. Default: the cluster's own."
    )
    priority_class_name: ObjectName | None = Field(
        default=None, description="PriorityClass of the pods."
    )
    topology_key: QualifiedName | None = Field(
        default=None,
        description="Label of the nodes within one value of which the pods are kept together, such "
        "as topology.kubernetes.io/zone or the label of a rack or network block. Kueue is told as "
        "well. Default: the pods may be anywhere.",
    )
    topology: Literal["Preferred", "Required"] = Field(
        default="Preferred",
        description="Preferred spreads the pods where they do not fit together; Required lets them "
        "wait until they do.",
    )


class RunPolicy(Section):
    """Start, stop and retry. May be changed while the run is going on."""

    suspend: bool = Field(
        default=False,
        description="true stops the run and frees its nodes; the checkpoints stay, and false "
        "continues from the last one.",
    )
    backoff_limit: int = Field(
        default=3,
        ge=0,
        le=100,
        description="How often each pod of the run is restarted after a failure before the run "
        "counts as failed. A pod that only lost another one stays and waits for it, which does not "
        "count; nor do evictions and preemptions. Errors that retrying cannot cure (configuration, "
        "credentials, missing teacher) fail at once. A change of the spec that replaces the pods "
        "starts the count anew.",
    )
    active_deadline_seconds: int | None = Field(
        default=None,
        ge=1,
        le=2**31 - 1,
        description="Seconds after which a run that has not finished is stopped and failed, "
        "counted from its start or last resumption, and anew when a change of the spec replaces "
        "the pods. Default: no limit.",
    )
    ttl_seconds_after_finished: int | None = Field(
        default=None,
        ge=0,
        le=2**31 - 1,
        description="Seconds after its end, good or bad, at which the resource is deleted with its "
        "pods and their logs. Checkpoints and student stay in the bucket. Default: never.",
    )
    room_check: RoomCheck | None = Field(
        default=None,
        description="What becomes of a run that needs more memory than any GPU that its pods may "
        "get has, however wrong the estimate may be: Hold makes no Job, so that no GPUs are taken, "
        "Warn starts it. Either way the condition FitsMemory and an event tell. A run that started "
        "once is not held. Default: Warn with scheduling.queueName, as the queue may choose nodes "
        "that are not there yet; else what the operator was installed with, which is Hold.",
    )
