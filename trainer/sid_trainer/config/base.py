"""What all sections of the configuration have in common."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Family = Literal["sd3", "sana", "sana-sprint", "flux"]


Revision = Annotated[str, Field(min_length=1, max_length=128)]
"""Of a model on the Hugging Face Hub: a commit, a branch or a tag."""


NoiseMode = Literal["fresh", "fixed", "ddim"]


Weighting = Literal[
    "one-minus-sigma",
    "one-minus-sigma-squared",
    "inverse-sigma",
    "inverse-sigma-squared",
    "sqrt-snr",
    "snr",
    "sid",
]


GuidanceStrategy = Literal["LSG", "ZeroCFG", "AntiCFG"]


Pooling = Literal["spatial", "channel"]


Precision = Literal["fp32", "bf16", "pure-bf16"]


AttentionKernels = Literal["auto", "torch", "flash-4"]


Offload = Literal["none", "optimizer"]


Metric = Literal["fid", "fidTeacher", "clipScore", "preferenceScore"]
"""What a student is measured by, by its name in the resource's status."""


class Section(BaseModel):
    """A part of the configuration: camelCase in files, immutable, no unknown fields."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        # A misspelt number ("4x") must not be guessed at, but 1 for 1.0 is fine.
        strict=False,
    )
