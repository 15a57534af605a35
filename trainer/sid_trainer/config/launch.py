"""Where a run writes, and how its processes find each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from sid_trainer.config.base import Section
from sid_trainer.config.endpoint import Addressing, Endpoint
from sid_trainer.config.file_uri import folder_of
from sid_trainer.contract import PROGRESS_PORT, RENDEZVOUS_PORT

Region = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,62}$", max_length=63)]

REGION_TEXT = (
    "Region that the bucket is in. Default: AWS is asked, and other endpoints take us-east-1, as "
    "MinIO does unless it is told another."
)
ADDRESSING_TEXT = (
    "Where the name of the bucket stands: path (https://server/bucket), virtual "
    "(https://bucket.server), or auto, which is virtual for AWS and path elsewhere."
)


class StorageConfig(Section):
    """Where checkpoints, samples, metrics and the student are written.

    Credentials never stand here: they come from the environment (``AWS_ACCESS_KEY_ID``,
    ``AWS_SECRET_ACCESS_KEY``, ``AWS_SESSION_TOKEN``, or the variables of a role).
    """

    uri: Annotated[str, Field(min_length=1, max_length=1024)] = Field(
        description="Folder of the run: s3://bucket/prefix or file:///path."
    )
    endpoint: Annotated[str, Field(pattern=r"^https?://[^/\s]+/?$", max_length=512)] | None = Field(
        default=None,
        description="URL of the S3 endpoint (http://minio.minio:9000), used for every s3:// value "
        "of the file. Default: AWS.",
    )

    region: Region | None = Field(default=None, description=REGION_TEXT)
    addressing: Addressing = Field(default="auto", description=ADDRESSING_TEXT)
    ca_bundle: Annotated[str, Field(min_length=1, max_length=1024)] | None = Field(
        default=None,
        description="PEM file of the authorities that may vouch for an https:// endpoint, in "
        "place of the public ones.",
    )

    @property
    def server(self) -> Endpoint:
        """The S3 server that every ``s3://`` value of the file is asked of."""
        bundle = Path(self.ca_bundle) if self.ca_bundle is not None else None
        return Endpoint(self.endpoint, self.region, self.addressing, bundle)

    @model_validator(mode="after")
    def _bundle_is_for_tls(self) -> Self:
        if self.ca_bundle is not None and (self.endpoint or "https").startswith("http:"):
            raise ValueError(
                f"storage.caBundle is given, and storage.endpoint {self.endpoint} has no TLS: use "
                "https://, or remove the bundle"
            )
        return self

    @model_validator(mode="after")
    def _known_scheme(self) -> Self:
        scheme = urlsplit(self.uri).scheme
        if scheme == "file":
            folder_of(self.uri)
        elif scheme != "s3":
            raise ValueError(
                f"storage.uri {self.uri!r} is neither s3:// nor file://: give s3://bucket/prefix "
                "or file:///path"
            )
        return self


class LaunchConfig(Section):
    """How the processes of a run find each other. The defaults are one process on this machine."""

    nodes: int = Field(default=1, ge=1, le=1024, description="Number of nodes (pods).")
    processes_per_node: int = Field(
        default=1, ge=1, le=64, description="Training processes a node: one a GPU, or one on CPU."
    )
    device: Literal["cuda", "cpu"] = Field(
        default="cuda", description="cuda trains on GPUs over NCCL, cpu on the CPU over gloo."
    )
    rendezvous_host: str = Field(
        default="127.0.0.1", description="Host of node 0, where the others meet."
    )
    peers_host: str | None = Field(
        default=None,
        description="Name whose addresses are those of all nodes of the run: a node that is not "
        "among them was replaced, and does not join. Default: not looked up.",
    )
    rendezvous_port: int = Field(
        default=RENDEZVOUS_PORT, ge=1024, le=65535, description="Port there."
    )
    progress_host: str = Field(
        default="127.0.0.1",
        description="Address on which rank 0 serves its progress; 0.0.0.0 or :: for all, of IPv4 "
        "and of IPv6.",
    )
    progress_port: int = Field(
        default=PROGRESS_PORT, ge=0, le=65535, description="Port there; 0 = none."
    )
    grace_seconds: int = Field(
        default=30,
        ge=1,
        le=86_400,
        description="Seconds between SIGTERM and SIGKILL, as a pod's grace period: room for a last "
        "checkpoint.",
    )

    @property
    def world_size(self) -> int:
        """Number of training processes."""
        return self.nodes * self.processes_per_node
