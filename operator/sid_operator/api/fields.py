"""Types of single fields, with checks that hold in pydantic and in the CRD alike.

Rule: a check with a message is declared once (:class:`Matches`, :class:`MatchesNot`) and becomes
both a pydantic validator and a CEL rule of the API server, with the same text. Expressions are
written in the common part of Python's and RE2's syntax and hold no single quotes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AwareDatetime,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, core_schema

from sid_trainer.memory import released

VALIDATIONS = "x-kubernetes-validations"
"""Key of CEL rules in a structural schema."""


@dataclass(frozen=True)
class Matches:
    """The string matches ``pattern``; ``message`` says what is wanted and how to get there."""

    pattern: str
    message: str

    @property
    def rule(self) -> str:
        """The check as a CEL expression."""
        return f"self.matches(r'{self.pattern}')"

    def accepts(self, value: str) -> bool:
        """Whether the check lets ``value`` pass."""
        return re.search(self.pattern, value) is not None and not value.endswith("\n")

    def _validate(self, value: str) -> str:
        if not self.accepts(value):
            raise ValueError(self.message)
        return value

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Run the check after the type's own validation."""
        return core_schema.no_info_after_validator_function(self._validate, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Add the check to the JSON schema as a CEL rule."""
        json_schema = handler(schema)
        rules = [*json_schema.get(VALIDATIONS, []), {"rule": self.rule, "message": self.message}]
        return {**json_schema, VALIDATIONS: rules}


@dataclass(frozen=True)
class MatchesNot(Matches):
    """The string does not match ``pattern``."""

    @property
    def rule(self) -> str:
        """The check as a CEL expression."""
        return f"!{super().rule}"

    def accepts(self, value: str) -> bool:
        """Whether the check lets ``value`` pass."""
        return re.search(self.pattern, value) is None


def rfc3339(value: datetime) -> str:
    """A moment, to the second and in UTC, as metav1.Time is written."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _is_released(value: str) -> str:
    if value not in released():
        raise ValueError(f"{value!r} is not one of {', '.join(released())}")
    return value


ReleasedModel = Annotated[
    str,
    AfterValidator(_is_released),
    WithJsonSchema({"type": "string", "enum": list(released())}),
]
"""A teacher whose need of memory is known, by its id on the Hugging Face Hub."""

Time = Annotated[AwareDatetime, PlainSerializer(rfc3339, return_type=str, when_used="json")]
"""A moment, to the second and in UTC, as metav1.Time is written."""

DnsLabel = Annotated[
    str,
    Field(min_length=1, max_length=50),
    Matches(
        r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        "must be lower-case letters, digits and '-', and begin and end with a letter or digit",
    ),
]

ObjectName = Annotated[
    str,
    Field(min_length=1, max_length=253),
    Matches(
        r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
        "must be the name of a Kubernetes object: lower-case letters, digits, '-' and '.', "
        "beginning and ending with a letter or digit",
    ),
]

LabelValue = Annotated[
    str,
    Field(min_length=1, max_length=63),
    Matches(
        r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
        "must be the value of a label: letters, digits, '-', '_' and '.', beginning and ending "
        "with a letter or digit",
    ),
]

QualifiedName = Annotated[
    str,
    Field(min_length=1, max_length=317),
    Matches(
        r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
        "must be a name such as cpu or nvidia.com/gpu.product: letters, digits, '-', '_' and '.', "
        "after a domain and '/' where there is one",
    ),
]

ExtendedResource = Annotated[
    str,
    Field(max_length=317),
    Matches(
        r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$",
        "must be empty or the full name of an extended resource, such as nvidia.com/gpu, "
        "nvidia.com/mig-3g.40gb or amd.com/gpu",
    ),
    MatchesNot(
        r"kubernetes\.io/|^requests\.",
        "is no extended resource, but one of Kubernetes itself: use the name under which a device "
        "plugin offers GPUs",
    ),
]
"""The name of devices that a device plugin tells of, or none."""

MetadataKey = Annotated[
    QualifiedName,
    MatchesNot(
        r"^((.*\.)?sid-dit\.dev|(batch|apps?)\.kubernetes\.io|kueue\.x-k8s\.io|"
        r"(.*\.)?security\.(.*\.)?kubernetes\.io|kubernetes\.io)/|^(job-name|controller-uid)$",
        "is set by the operator, the Job controller or the queue, or is part of the pods' security",
    ),
]
"""A label or annotation that a user may put on what is made for a run."""

SelectorValue = Annotated[
    str,
    Field(max_length=63),
    Matches(
        r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$",
        "must be empty or the value of a label: letters, digits, '-', '_' and '.', beginning and "
        "ending with a letter or digit",
    ),
]

ImageName = Annotated[
    str,
    Field(min_length=1, max_length=512),
    Matches(
        r"^[A-Za-z0-9][A-Za-z0-9._:/@-]*$",
        "must be an image reference such as registry.example.org/sid-trainer:1.0, without a "
        "scheme and without spaces",
    ),
]

Bucket = Annotated[
    str,
    Field(min_length=3, max_length=63),
    Matches(
        r"^[a-z0-9][a-z0-9.-]*[a-z0-9]$",
        "must be the name of a bucket alone (lower-case letters, digits, '-' and '.'): no s3:// "
        "and no path, which goes into prefix",
    ),
]

KeyPrefix = Annotated[
    str,
    Field(min_length=1, max_length=256),
    Matches(
        r"^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$",
        "must be names of letters, digits, '.', '_' and '-' joined by '/', such as team/runs: no "
        "'/' at the beginning or the end, and no name that begins with a dot",
    ),
]

Endpoint = Annotated[
    str,
    Field(min_length=1, max_length=512),
    Matches(
        r"^https?://[A-Za-z0-9.:\[\]-]+/?$",
        "must be the URL of an S3 endpoint without path, user or query, such as "
        "http://minio.minio:9000",
    ),
]

RegionName = Annotated[
    str,
    Field(min_length=1, max_length=63),
    Matches(
        r"^[A-Za-z0-9][A-Za-z0-9-]*$",
        "must be the name of a region such as eu-central-1: letters, digits and '-'",
    ),
]

VariableName = Annotated[
    str,
    Field(min_length=1, max_length=128),
    Matches(
        r"^[A-Za-z_][A-Za-z0-9_]*$",
        "must be the name of an environment variable: letters, digits and '_', not beginning with "
        "a digit",
    ),
    MatchesNot(
        r"^(AWS_|SID_(GANG|RUN|TERMINATION|OPERATOR)|HF_TOKEN$|HOME$|TMPDIR$|RANK$|WORLD_SIZE$|MASTER_|LOCAL_|GROUP_|ROLE_|JOB_|"
        r"TORCHELASTIC_)",
        "is set by the operator or the launcher: credentials and certificates go into Secrets and "
        "have fields of their own (checkpoint.secretRef, checkpoint.caBundleRef, "
        "teacher.tokenSecretRef), and a role comes with checkpoint.serviceAccountName",
    ),
]

DataKey = Annotated[
    str,
    Field(min_length=1, max_length=253),
    Matches(
        r"^[-._A-Za-z0-9]+$",
        "must be a key of a ConfigMap or Secret: letters, digits, '-', '_' and '.'",
    ),
]

MountPath = Annotated[
    str,
    Field(min_length=2, max_length=256),
    Matches(
        r"^(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+$",
        "must be an absolute path of letters, digits, '.', '_' and '-', such as /mnt/models",
    ),
    MatchesNot(
        r"^/(bin|boot|dev|etc|home|lib|lib32|lib64|opt|proc|root|run|sbin|scratch|sys|tmp|usr|var)(/|$)",
        "must be outside the folders of the system (/etc, /tmp, /usr, /opt, /var, ...): mount "
        "below /mnt, /data or /models",
    ),
]
