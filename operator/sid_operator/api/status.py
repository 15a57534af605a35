"""What the operator tells: the status of a ``SiDDistillation``.

Rules this module keeps: everything in it can be told by looking again (nothing is remembered here
alone but transition times); numbers are finite; it never holds a secret.
``status.model_dump(by_alias=True, exclude_none=True, mode="json")`` is what is written.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, FiniteFloat

from sid_operator.api.conditions import Condition, Phase, StatusPart
from sid_operator.api.fields import Matches, Time

Uri = Annotated[str, Field(max_length=2048)]
MetricName = Annotated[
    str, Field(max_length=64), Matches(r"^[a-zA-Z0-9]+$", "must be letters and digits")
]


class ProgressStatus(StatusPart):
    """How far the run is."""

    iteration: int = Field(default=0, ge=0, description="Iterations done.")
    iterations: int | None = Field(
        default=None, ge=1, description="Iterations of the whole run, however its length was given."
    )
    images: int = Field(default=0, ge=0, description="Images generated for training.")
    percent: int = Field(default=0, ge=0, le=100, description="Iterations done, in percent.")
    images_per_second: FiniteFloat | None = Field(
        default=None, ge=0, description="Pace of the last iterations, over all GPUs."
    )
    eta_seconds: int | None = Field(
        default=None, ge=0, description="Seconds until the last iteration at the present pace."
    )
    eta: Annotated[str, Field(max_length=32)] | None = Field(
        default=None, description="The same for people, such as 3h12m."
    )
    last_update_time: Time | None = Field(
        default=None, description="When rank 0 last told its progress."
    )


class CheckpointStatus(StatusPart):
    """The newest committed checkpoint."""

    uri: Uri = Field(description="Folder of the checkpoint.")
    iteration: int = Field(ge=0, description="Iteration after which it was taken.")
    time: Time = Field(description="When it was committed.")


class Location(StatusPart):
    """Something that the run has written."""

    uri: Uri = Field(description="Where it is.")


class FailureStatus(StatusPart):
    """Why a run, or its last attempt, failed."""

    reason: Annotated[str, Field(min_length=1, max_length=128)] = Field(
        description="Cause, as one word: OutOfMemory, NumericalError, AccessDenied, NotFound, ..."
    )
    message: Annotated[str, Field(max_length=4096)] = Field(
        description="Cause for people, with the remedy."
    )
    pod: Annotated[str, Field(max_length=253)] | None = Field(
        default=None, description="Pod that failed."
    )
    node: Annotated[str, Field(max_length=253)] | None = Field(
        default=None, description="Node that the pod was on."
    )
    time: Time | None = Field(
        default=None, description="When the operator saw it first, in these words."
    )


class SiDDistillationStatus(StatusPart):
    """What the operator tells of a run."""

    phase: Phase | None = Field(
        default=None, description="Where the run stands, in a word; programs read conditions."
    )
    conditions: Annotated[list[Condition], Field(max_length=16)] = Field(
        default_factory=list, description="What is known of the run, one entry a type."
    )
    observed_generation: int | None = Field(
        default=None, ge=0, description="metadata.generation that the status was made from."
    )
    start_time: Time | None = Field(default=None, description="When the pods were first asked for.")
    completion_time: Time | None = Field(default=None, description="When the run ended.")
    restarts: int = Field(
        default=0,
        ge=0,
        description="How often training was started again: after a failure, a lost pod, a "
        "suspension or a change of the spec.",
    )
    progress: ProgressStatus | None = Field(default=None, description="How far the run is.")
    metrics: Annotated[dict[MetricName, FiniteFloat], Field(max_length=64)] = Field(
        default_factory=dict,
        description="Newest values that the trainer measured: generatorLoss, fakeScoreLoss, fid, "
        "clipScore, ...",
    )
    checkpoint: CheckpointStatus | None = Field(
        default=None, description="The newest committed checkpoint."
    )
    student: Location | None = Field(
        default=None, description="The finished student, a diffusers pipeline directory."
    )
    samples: Location | None = Field(
        default=None, description="The newest sample picture; earlier ones are in its folder."
    )
    failure: FailureStatus | None = Field(
        default=None,
        description="What stands in the way now: why the run has failed, why its pods are being "
        "replaced, or what they wait for.",
    )
    last_failure: FailureStatus | None = Field(
        default=None,
        description="Why training was interrupted last: a pod that failed, was evicted or lost its "
        "node. It stays when the run goes on, and explains restarts when Events are forgotten.",
    )
