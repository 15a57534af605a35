"""What a training pod tells the operator, and how: progress, termination record, exit codes.

Rules this module keeps:

* It imports pydantic and the standard library only; both packages use it.
* The operator trusts nothing in it: lengths and sizes are bounded here, numbers are finite.
* Rank 0 serves :class:`ProgressReport` as JSON at ``GET /progress`` (port
  ``launch.progressPort``), and the launcher of each pod writes :class:`TerminationRecord` to
  ``/dev/termination-log``: a ``running`` one at every checkpoint, the final one at the end.
"""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat
from pydantic.alias_generators import to_camel

PROGRESS_PATH = "/progress"
PROGRESS_PORT = 9400
RENDEZVOUS_PORT = 29500
CONFIG_PATH = "/etc/sid/config.yaml"
CA_BUNDLE_PATH = "/etc/sid-ca/ca.crt"
"""Where a pod finds the authorities that vouch for its S3 endpoint, if the resource names any."""
TERMINATION_LOG = "/dev/termination-log"
GANG_VARIABLE = "SID_GANG"
"""Environment variable with the id that the pods of one Job share, and no others have."""
MAX_RECORD_BYTES = 3072
"""Kubernetes cuts the termination message at 4096 bytes; a cut JSON cannot be read."""
MAX_PROGRESS_BYTES = 65_536
MAX_TEXT = 1024
"""Characters of a message."""

Text = Annotated[str, Field(max_length=MAX_TEXT)]
Stage: TypeAlias = Literal["loading", "encoding", "training", "exporting", "done"]
"""What a run does at present."""


class ExitCode(enum.IntEnum):
    """Exit codes of the trainer. 64-78 (sysexits) are permanent: retrying cannot help."""

    DONE = 0
    FAILED = 1  # unknown cause: may be retried
    DATA = 65  # prompts or images cannot be used
    NOT_FOUND = 66  # teacher, prompts or bucket is not there
    NUMERICS = 70  # NaN or infinity that does not go away
    OUT_OF_MEMORY = 71
    DENIED = 77  # credentials refused
    CONFIGURATION = 78
    STORAGE = 79  # storage did not answer: may be retried
    PEER_LOST = 80  # another rank is gone: may be retried
    STALLED = 81  # a rank hangs: may be retried
    TERMINATED = 143  # SIGTERM


PERMANENT_EXIT_CODES = range(64, 79)


class FailureReason(enum.StrEnum):
    """Why a run failed, as it stands in ``status.failure.reason``."""

    UNKNOWN = "Error"
    INVALID_CONFIGURATION = "InvalidConfiguration"
    INVALID_DATA = "InvalidData"
    NOT_FOUND = "NotFound"
    NUMERICAL_ERROR = "NumericalError"
    OUT_OF_MEMORY = "OutOfMemory"
    ACCESS_DENIED = "AccessDenied"
    STORAGE_UNAVAILABLE = "StorageUnavailable"
    PEER_LOST = "PeerLost"
    STALLED = "Stalled"
    TERMINATED = "Terminated"


EXIT_CODE_OF: dict[FailureReason, ExitCode] = {
    FailureReason.UNKNOWN: ExitCode.FAILED,
    FailureReason.INVALID_CONFIGURATION: ExitCode.CONFIGURATION,
    FailureReason.INVALID_DATA: ExitCode.DATA,
    FailureReason.NOT_FOUND: ExitCode.NOT_FOUND,
    FailureReason.NUMERICAL_ERROR: ExitCode.NUMERICS,
    FailureReason.OUT_OF_MEMORY: ExitCode.OUT_OF_MEMORY,
    FailureReason.ACCESS_DENIED: ExitCode.DENIED,
    FailureReason.STORAGE_UNAVAILABLE: ExitCode.STORAGE,
    FailureReason.PEER_LOST: ExitCode.PEER_LOST,
    FailureReason.STALLED: ExitCode.STALLED,
    FailureReason.TERMINATED: ExitCode.TERMINATED,
}


class TrainerError(Exception):
    """An error with a cause that the user is told: raised anywhere in the trainer.

    The message names what is wrong, the value, and the remedy.
    """

    def __init__(self, reason: FailureReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Message(BaseModel):
    """Base of what crosses the border between the packages: bounded, unknown fields ignored."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True
    )


class CheckpointRef(Message):
    """A committed checkpoint."""

    uri: Text
    iteration: Annotated[int, Field(ge=0)]
    time: datetime


class ProgressReport(Message):
    """State of a run as rank 0 sees it."""

    attempt: Annotated[int, Field(ge=1)] = Field(
        description="How often training was started, this start included: a number kept in the "
        "run's storage, so restarts are counted exactly whoever watched."
    )
    stage: Stage
    iteration: Annotated[int, Field(ge=0)] = 0
    iterations: Annotated[int, Field(ge=1)]
    images: Annotated[int, Field(ge=0)] = 0
    images_per_second: FiniteFloat = 0.0
    eta_seconds: Annotated[int, Field(ge=0)] | None = None
    time: datetime = Field(description="When this state was reached (RFC 3339, UTC).")
    metrics: Annotated[
        dict[Annotated[str, Field(max_length=64)], FiniteFloat], Field(max_length=64)
    ] = {}
    checkpoint: CheckpointRef | None = None
    checkpoint_problem: Text | None = Field(
        default=None, description="Why the newest checkpoint that was due is not stored."
    )
    samples_uri: Text | None = None
    student_uri: Text | None = None


class Failure(Message):
    """Why a process failed."""

    reason: FailureReason
    message: Text
    rank: int | None = None


class TerminationRecord(Message):
    """What the termination message of a pod says."""

    state: Literal["running", "succeeded", "failed"]
    progress: ProgressReport | None = None
    failure: Failure | None = None
