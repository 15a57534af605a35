"""What the user writes: the spec of a ``SiDDistillation``.

It is the trainer's configuration model (:mod:`sid_trainer.config`) extended by what is
Kubernetes': Secrets by reference, the bucket, workers, scheduling and run policy. Fields have
camelCase names in YAML; the API server refuses or drops unknown ones. Rules across fields stand in
:mod:`sid_operator.crd.rules` for the API server; here they hold once more through
:func:`sid_operator.api.render.run_config`.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from sid_operator.api.fields import (
    Bucket,
    DataKey,
    Endpoint,
    KeyPrefix,
    MetadataKey,
    ObjectName,
    RegionName,
    ReleasedModel,
    SelectorValue,
)
from sid_operator.api.names import CA_BUNDLE_KEY
from sid_operator.api.pods import SecretRef
from sid_operator.api.workers import RunPolicy, SchedulingSpec, WorkersSpec
from sid_trainer.config import (
    ADDRESSING_TEXT,
    REGION_TEXT,
    CheckpointConfig,
    Section,
    TeacherConfig,
    TrainerSections,
)
from sid_trainer.config.endpoint import Addressing

ONE_IDENTITY: Final = (
    "checkpoint.secretRef (a Secret with keys) and checkpoint.serviceAccountName (a service "
    "account whose role may open the bucket) are two ways to open it: give exactly one of them"
)


class TeacherSpec(TeacherConfig):
    """The text-to-image model to distil, and the Secret that opens it."""

    token_secret_ref: SecretRef | None = Field(
        default=None,
        description="Secret whose key 'token' is a Hugging Face access token, for models that "
        "need one.",
    )
    architecture: ReleasedModel | None = Field(
        default=None,
        description="The released model whose architecture the teacher has, for the operator's "
        "check of GPU memory. Default: the one of the same name, wherever the teacher is stored. "
        "It changes nothing else.",
    )


class CaBundleRef(Section):
    """A key of a ConfigMap or Secret in the namespace of the resource."""

    kind: Literal["ConfigMap", "Secret"] = Field(
        default="ConfigMap", description="Kind of the object. Authorities are no secret."
    )
    name: ObjectName = Field(description="Name of the object, in the namespace of the resource.")
    key: DataKey = Field(default=CA_BUNDLE_KEY, description="Key of the PEM certificates in it.")


class CheckpointSpec(CheckpointConfig):
    """The bucket of the run, and when state is saved there."""

    endpoint: Endpoint | None = Field(
        default=None,
        description="URL of the S3 endpoint (http://minio.minio:9000), used for every s3:// value "
        "of the resource. Default: AWS.",
    )
    region: RegionName | None = Field(default=None, description=REGION_TEXT)
    addressing: Addressing = Field(default="auto", description=ADDRESSING_TEXT)
    ca_bundle_ref: CaBundleRef | None = Field(
        default=None,
        description="Certificates of the authorities that may vouch for an https:// endpoint, for "
        "one whose certificate no public authority has signed. These are trusted in place of the "
        "public ones.",
    )
    bucket: Bucket = Field(
        description="Bucket that checkpoints, samples, metrics and the student are written to, "
        "below PREFIX/NAMESPACE/NAME/. It must exist."
    )
    prefix: KeyPrefix | None = Field(
        default=None,
        description="Folder in the bucket that the run's own folder NAMESPACE/NAME lies in. "
        "Default: the bucket itself.",
    )
    secret_ref: SecretRef | None = Field(
        default=None,
        description="Secret whose keys 'accessKey' and 'secretKey' open the bucket, and every "
        "s3:// value of the resource. Temporary credentials have a third, 'sessionToken'. Either "
        "it or serviceAccountName is given.",
    )
    service_account_name: ObjectName | None = Field(
        default=None,
        description="Service account of the pods, in the namespace of the resource, whose role "
        "opens the bucket and every s3:// value of the resource in place of a Secret: by EKS IRSA, "
        "EKS Pod Identity, or whatever else puts a role's variables into the pods of a service "
        "account. No token of the Kubernetes API is mounted. Where it is changed, the pods are "
        "made anew and go on from the last checkpoint.",
    )

    @model_validator(mode="after")
    def _has_one_identity(self) -> Self:
        if (self.secret_ref is None) == (self.service_account_name is None):
            raise ValueError(ONE_IDENTITY)
        return self


class SiDDistillationSpec(TrainerSections):
    """A distillation: which teacher, how, on which nodes, and where the results go."""

    teacher: TeacherSpec = Field(
        description="The text-to-image model to distil. It is never changed."
    )
    checkpoint: CheckpointSpec = Field(
        description="Where results are written, and when state is saved."
    )
    workers: WorkersSpec = Field(
        default_factory=WorkersSpec, description="The pods that train: one a node."
    )
    scheduling: SchedulingSpec = Field(
        default_factory=SchedulingSpec, description="Who decides when and where the pods run."
    )
    run_policy: RunPolicy = Field(
        default_factory=RunPolicy,
        description="Start, stop and retry. May be changed while the run is going on.",
    )
    labels: Annotated[dict[MetadataKey, SelectorValue], Field(max_length=32)] = Field(
        default_factory=dict,
        description="Labels of every object that is made for the run (Job, pods, ConfigMap, "
        "Service, clean-up Job), such as a team or cost centre that a policy asks for. Where they "
        "are changed, the pods are made anew and go on from the last checkpoint.",
    )
    annotations: Annotated[
        dict[MetadataKey, Annotated[str, Field(max_length=1024)]], Field(max_length=32)
    ] = Field(
        default_factory=dict,
        description="Annotations of every object that is made for the run, as labels are.",
    )
    deletion_policy: Literal["Retain", "Delete"] = Field(
        default="Retain",
        description="What becomes of the run's folder in the bucket (checkpoints, samples, metrics "
        "and the student) when the resource is deleted: Retain keeps it, Delete removes it by a "
        "Job in the namespace, for which the Secret or service account that checkpoint names must "
        "still be there (so the folder stays where the namespace is deleted as a whole). May be "
        "changed at any time.",
    )
