"""Conditions and phases of a ``SiDDistillation``.

Rules this module keeps: conditions are metav1 conditions and are what programs wait for
(``kubectl wait --for=condition=Complete``); the phase is a summary for people, derived from them.
Reasons of conditions are the controller's and stand in its own module.
"""

from __future__ import annotations

import enum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from sid_operator.api.fields import Time


class StatusPart(BaseModel):
    """A part of the status: camelCase in JSON, immutable, unknown fields ignored."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True
    )


class Phase(enum.StrEnum):
    """Where the run stands, in a word."""

    PENDING = "Pending"
    QUEUED = "Queued"
    STARTING = "Starting"
    RUNNING = "Running"
    RESTARTING = "Restarting"
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"

    @property
    def finished(self) -> bool:
        """Whether nothing more happens to the run."""
        return self in (Phase.SUCCEEDED, Phase.FAILED)


class ConditionType(enum.StrEnum):
    """What is told about a run, each true, false or unknown."""

    ACCEPTED = "Accepted"
    FITS_MEMORY = "FitsMemory"
    PODS_READY = "PodsReady"
    RUNNING = "Running"
    STALLED = "Stalled"
    CHECKPOINTS = "CheckpointsStored"
    SUSPENDED = "Suspended"
    COMPLETE = "Complete"
    FAILED = "Failed"


ConditionStatus = Literal["True", "False", "Unknown"]


class Condition(StatusPart):
    """A metav1 condition."""

    type: Annotated[str, Field(min_length=1, max_length=316)] = Field(
        description="Accepted (the spec is valid and its objects exist), FitsMemory (the GPUs "
        "that the pods may get are large enough, by the estimate), PodsReady, Running (iterations "
        "are made), Stalled (none is made any more), CheckpointsStored, Suspended, "
        "Complete or Failed."
    )
    status: ConditionStatus = Field(description="True, False or Unknown.")
    reason: Annotated[str, Field(min_length=1, max_length=1024)] = Field(
        description="Why, as one word for programs."
    )
    message: Annotated[str, Field(max_length=32_768)] = Field(
        description="Why, for people, with the remedy where there is one."
    )
    last_transition_time: Time = Field(description="When status changed last.")
    observed_generation: int | None = Field(
        default=None, ge=0, description="metadata.generation that the condition was made from."
    )
